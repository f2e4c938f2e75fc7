import pytest

from clinic.networks import Networks
from clinic.settings import Settings
from tests.conftest import another_app, caller

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
        b"Bearer \xff",
    ],
)
async def test_without_the_token_everything_but_health_and_schema_is_401(
    settings: Settings, header: str | bytes | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    async with another_app(settings, api_token=TOKEN) as app, caller(app) as client:
        for path in PATHS:
            answer = await client.get(path, headers=headers)  # type: ignore[arg-type]
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"
        for path in ("/livez", "/readyz", "/schema", "/schema/openapi.json"):
            assert (await client.get(path)).status_code == 200


async def test_the_token_opens_from_anywhere(settings: Settings) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with (
        another_app(settings, api_token=TOKEN) as app,
        caller(app, host="192.0.2.7") as client,
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
async def test_without_a_token_only_the_own_machine_is_let_in(
    settings: Settings, host: str, status: int
) -> None:
    async with another_app(settings) as app, caller(app, host=host) as client:
        assert (await client.get("/owners")).status_code == status
        assert (await client.get("/livez")).status_code == 200


async def test_a_caller_cannot_claim_to_be_local(settings: Settings) -> None:
    claim = {"x-forwarded-for": "127.0.0.1", "host": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    async with another_app(settings) as app, caller(app, host="192.0.2.7") as client:
        assert (await client.get("/owners", headers=claim)).status_code == 403


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
async def test_an_open_network_is_let_in_and_no_other(
    settings: Settings, host: str, status: int
) -> None:
    networks = Networks("10.213.84.0/24, fd00::/8")
    async with (
        another_app(settings, open_networks=networks) as app,
        caller(app, host=host) as client,
    ):
        assert (await client.get("/owners")).status_code == status


async def test_a_token_closes_open_networks(settings: Settings) -> None:
    async with (
        another_app(settings, api_token=TOKEN, open_networks=Networks("10.0.0.0/8")) as app,
        caller(app, host="10.0.0.1") as client,
    ):
        assert (await client.get("/owners")).status_code == 401


async def test_a_refused_caller_is_told_where_it_came_from(settings: Settings) -> None:
    async with another_app(settings) as app, caller(app, host="192.0.2.7") as client:
        assert "this request came from 192.0.2.7" in (await client.get("/owners")).json()["detail"]
