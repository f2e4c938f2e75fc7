from collections import defaultdict

import pytest

from clinic.networks import Networks
from clinic.settings import Settings
from tests.support.clinic import app_client, running_app

pytestmark = pytest.mark.anyio

TOKEN = "correct-horse-battery"
PATHS = ["/owners", "/owners/1", "/owners/1/pets", "/pets/1", "/appointments", "/appointments/1"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer{TOKEN}",
        f"Bearer\t{TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        b"Bearer \xff",
    ],
)
async def test_without_the_token_only_health_and_schema_answer(
    settings: Settings, header: str | bytes | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    async with running_app(settings, api_token=TOKEN) as app, app_client(app) as client:
        for path in PATHS:
            response = await client.get(path, headers=headers)  # type: ignore[arg-type]
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == 'Bearer realm="clinic"'
            assert response.headers["content-type"] == "application/problem+json"
        for path in ("/livez", "/readyz", "/schema", "/schema/openapi.json"):
            assert (await client.get(path)).status_code == 200


async def test_every_operation_on_a_resource_asks_for_the_token(settings: Settings) -> None:
    async with running_app(settings, api_token=TOKEN) as app, app_client(app) as client:
        operations = [
            (method, route.path_format.format_map(defaultdict(lambda: 1)))
            for route in app.routes
            for method in route.methods
            if route.path.startswith(("/owners", "/pets", "/appointments"))
        ]
        assert len(operations) > 20
        for method, path in operations:
            response = await client.request(method, path, json={"unknown": 1})
            assert (method, path, response.status_code) == (method, path, 401)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR   "])
async def test_the_token_admits_callers_from_anywhere(settings: Settings, scheme: str) -> None:
    headers = {"authorization": f"{scheme}{TOKEN}"}
    async with (
        running_app(settings, api_token=TOKEN) as app,
        app_client(app, host="192.0.2.7") as client,
    ):
        assert (await client.get("/owners", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.8.8.8", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("192.0.2.7", 403),
        ("::ffff:192.0.2.7", 403),
        ("10.0.0.1", 403),
        ("localhost.example.org", 403),
        ("", 403),
    ],
)
async def test_without_a_token_only_loopback_is_admitted(
    settings: Settings, host: str, status: int
) -> None:
    async with running_app(settings) as app, app_client(app, host=host) as client:
        response = await client.get("/owners")
        assert response.status_code == status
        assert status == 200 or (host or "unknown") in response.json()["detail"]
        assert (await client.get("/livez")).status_code == 200


async def test_headers_do_not_make_a_caller_local(settings: Settings) -> None:
    headers = {"x-forwarded-for": "127.0.0.1", "host": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    async with running_app(settings) as app, app_client(app, host="192.0.2.7") as client:
        assert (await client.get("/owners", headers=headers)).status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("10.213.84.1", 200),
        ("::ffff:10.213.84.1", 200),
        ("fd00::7", 200),
        ("10.213.85.1", 403),
        ("192.0.2.7", 403),
        ("", 403),
    ],
)
async def test_open_networks_are_admitted(settings: Settings, host: str, status: int) -> None:
    networks = Networks("10.213.84.0/24, fd00::/8")
    async with (
        running_app(settings, open_networks=networks) as app,
        app_client(app, host=host) as client,
    ):
        assert (await client.get("/owners")).status_code == status


async def test_open_networks_need_the_token_if_one_is_set(settings: Settings) -> None:
    async with (
        running_app(settings, api_token=TOKEN, open_networks=Networks("10.0.0.0/8")) as app,
        app_client(app, host="10.0.0.1") as client,
    ):
        assert (await client.get("/owners")).status_code == 401
