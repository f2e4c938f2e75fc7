"""Which requests are answered at all: by host, origin, proxy and caller."""

import gc
from functools import _lru_cache_wrapper

import pytest
from httpx import AsyncClient

from clinic.hosts import Hosts
from clinic.networks import Networks
from clinic.settings import Settings
from tests.support.clinic import app_client, running_app, unique_email

pytestmark = pytest.mark.anyio

TOKEN = "correct-horse-battery"
BEARER = {"authorization": f"Bearer {TOKEN}"}
STRANGER = "192.0.2.7"
PATHS = ["/owners", "/owners/1", "/appointments?limit=1", "/schema/openapi.json", "/livez", "/no"]

OWN_HOSTS = [
    "localhost",
    "LOCALHOST",
    "localhost:8000",
    "localhost:1",
    "localhost:",
    "127.0.0.1",
    "127.0.0.1:8000",
    "[::1]",
    "[::1]:8000",
    "api:8000",
    "host.docker.internal:8000",
]
OTHER_HOSTS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "evil.localhost:8000",
    "127.0.0.1.evil.example",
    "192.0.2.7:8000",
    "0.0.0.0:8000",
    "[::2]:8000",
    "localhost.",
    "127.1:8000",
    "2130706433",
    "local%68ost",
    "xn--80ak6aa92e.com",
]
BAD_HOSTS = [
    "localhost:8000:8000",
    "localhost:port",
    "localhost@evil.example",
    "user:password@localhost",
    "localhost/",
    "localhost/owners",
    "localhost evil.example",
    "localhost?",
    "[::1%lo]",
    "[::1",
    ":8000",
    "http://localhost",
]


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_own_hosts_are_answered(client: AsyncClient, host: str) -> None:
    assert (await client.get("/owners?limit=1", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", OTHER_HOSTS)
async def test_other_hosts_are_not_answered(client: AsyncClient, host: str) -> None:
    for path in PATHS:
        response = await client.get(path, headers={"host": host})
        assert response.status_code == 421
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "CLINIC_ALLOWED_HOSTS" in response.json()["detail"]


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_what_is_no_host_is_400(settings: Settings, token: str | None) -> None:
    async with running_app(settings, api_token=token) as app, app_client(app) as client:
        for host in BAD_HOSTS:
            response = await client.get("/livez", headers={"host": host})
            assert response.status_code == 400, host
            assert response.json()["detail"].startswith("Expected the header `Host` once")


async def test_the_address_that_was_called_is_answered(client: AsyncClient) -> None:
    # httpx takes the server's address from the URL: over HTTP it is that of the socket.
    for url in ("http://10.213.84.5:8000", "http://[fd00::5]:8000"):
        assert (await client.get(f"{url}/owners")).status_code == 200
    assert (await client.get("http://evil.example/owners")).status_code == 421


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
async def test_a_request_has_one_host(client: AsyncClient, hosts: list[str]) -> None:
    request = client.build_request("GET", "/owners")
    del request.headers["host"]
    request.headers = type(request.headers)(
        [*request.headers.multi_items(), *(("host", host) for host in hosts)]
    )

    response = await client.send(request)

    assert response.status_code == 400
    assert response.json()["detail"].startswith("Expected the header `Host` once")


async def test_hosts_are_added_by_a_setting(settings: Settings) -> None:
    async with (
        running_app(settings, allowed_hosts=Hosts("Clinic.example, 192.0.2.7")) as app,
        app_client(app) as client,
    ):
        for host, status in {
            "clinic.example": 200,
            "clinic.example:8443": 200,
            "192.0.2.7:8000": 200,
            "localhost": 200,
            "evil.example": 421,
            "www.clinic.example": 421,
        }.items():
            assert (await client.get("/owners", headers={"host": host})).status_code == status


async def test_with_a_token_any_host_is_answered_unless_hosts_are_set(settings: Settings) -> None:
    headers = {**BEARER, "host": "clinic.example"}
    async with running_app(settings, api_token=TOKEN) as app, app_client(app) as client:
        assert (await client.get("/owners", headers=headers)).status_code == 200
    async with (
        running_app(settings, api_token=TOKEN, allowed_hosts=Hosts("other.example")) as app,
        app_client(app) as client,
    ):
        assert (await client.get("/owners", headers=headers)).status_code == 421


FOREIGN_PAGES = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://localhost:3000"},
    {"origin": "http://localhost.evil.example"},
    {"origin": "file://"},
    {"origin": "tauri://localhost"},
    {"origin": "ftp://localhost"},
    {"origin": "://localhost"},
    {"origin": "localhost"},
    {"origin": "http://localhost/"},
    {"origin": "http://localhost,http://localhost"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "Cross-Site"},
    {"origin": "http://localhost", "sec-fetch-site": "cross-site"},
    {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
]
OWN_PAGES = [
    {"origin": "http://localhost"},
    {"origin": "https://LOCALHOST"},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    {"origin": "http://localhost", "sec-fetch-site": "same-origin"},
]


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("headers", FOREIGN_PAGES)
async def test_foreign_pages_change_nothing(
    settings: Settings, token: str | None, headers: dict[str, str]
) -> None:
    async with running_app(settings, api_token=token) as app, app_client(app) as client:
        client.headers.update({**BEARER, **headers})
        for method, path, body in (
            ("POST", "/owners", b'{"name": "Ana", "email": "page@example.org"}'),
            ("POST", "/appointments/1/cancel", b""),
            ("PATCH", "/owners/1", b'{"name": "Ana"}'),
            ("DELETE", "/owners/1", b""),
            ("PUT", "/owners/1", b""),
            ("POST", "/nothing", b""),
        ):
            response = await client.request(method, path, content=body)
            assert response.status_code == 403
            assert "origin" in response.json()["detail"]


@pytest.mark.parametrize("headers", OWN_PAGES)
async def test_own_pages_may_change_something(client: AsyncClient, headers: dict[str, str]) -> None:
    body = {"name": "Ana", "email": unique_email()}
    assert (await client.post("/owners", json=body, headers=headers)).status_code == 201


async def test_no_page_may_read_responses(client: AsyncClient) -> None:
    asked = {
        "origin": "http://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
        "access-control-request-private-network": "true",
    }
    for method in ("GET", "OPTIONS", "POST"):
        response = await client.request(method, "/owners", headers=asked)
        assert not any(name.startswith("access-control-") for name in response.headers)


PROXY_HEADERS = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "X-Forwarded-Proto",
    "x-forwarded-anything",
    "x-real-ip",
    "cf-connecting-ip",
    "CF-Ray",
    "true-client-ip",
    "X-Vercel-Forwarded-For",
    "x-original-forwarded-for",
    "fly-client-ip",
    "X-Azure-ClientIP",
    "x-appengine-user-ip",
    "WL-Proxy-Client-IP",
    "client-ip",
    "x-remote-addr",
    "x-envoy-external-address",
    "cdn-loop",
    "tailscale-user-login",
]


@pytest.mark.parametrize("name", PROXY_HEADERS)
async def test_proxies_need_a_token(settings: Settings, name: str) -> None:
    headers = {**BEARER, name: "for=127.0.0.1"}
    for token, status in {None: 403, TOKEN: 200}.items():
        async with running_app(settings, api_token=token) as app, app_client(app) as client:
            response = await client.get("/owners", headers=headers)
            assert response.status_code == status
            assert status == 200 or "CLINIC_API_TOKEN" in response.json()["detail"]


@pytest.mark.parametrize("name", ["x-request-id", "x-amzn-trace-id", "x-client", "priority"])
async def test_headers_of_programs_are_not_those_of_proxies(client: AsyncClient, name: str) -> None:
    assert (await client.get("/owners?limit=1", headers={name: "1"})).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR "])
async def test_the_scheme_of_the_token_has_no_case(settings: Settings, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {TOKEN}"}
    async with running_app(settings, api_token=TOKEN) as app, app_client(app) as client:
        assert (await client.get("/owners", headers=headers)).status_code == 200


async def test_two_tokens_are_none(settings: Settings) -> None:
    headers = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")]
    async with running_app(settings, api_token=TOKEN) as app, app_client(app) as client:
        assert (await client.get("/owners", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    ("host", "changes", "status"),
    [
        ("127.0.0.1", {"api_token": TOKEN}, 401),
        (STRANGER, {}, 403),
        ("10.213.84.9", {"open_networks": Networks("10.213.84.0/24")}, 200),
    ],
)
async def test_only_trusted_callers_name_runs_and_parents(
    settings: Settings, host: str, changes: dict[str, object], status: int
) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {
        "baggage": "k6.test_run_id=attacker-1",
        "traceparent": f"00-{trace_id}-b7ad6b7169203331-01",
        "tracestate": "email=ana@example.org",
    }
    async with running_app(settings, **changes) as app, app_client(app, host=host) as client:
        response = await client.get("/owners", headers=headers)
        telemetry = app.state.telemetry
        telemetry.flush()
        (server, *_) = reversed(telemetry.exporter.get_finished_spans())
        data = telemetry.reader.get_metrics_data().to_json()
    assert response.status_code == status
    is_trusted = status == 200
    assert (server.parent is not None) == is_trusted
    assert (f"{server.context.trace_id:032x}" == trace_id) == is_trusted
    assert [f"{link.context.trace_id:032x}" for link in server.links] == (
        [] if is_trusted else [trace_id]
    )
    assert ("attacker-1" in server.to_json()) == is_trusted
    assert ("synthetic" in data) == is_trusted
    assert "ana@example.org" not in server.to_json()


async def test_an_unsampled_parent_of_a_stranger_is_not_linked(settings: Settings) -> None:
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
    async with running_app(settings) as app, app_client(app, host=STRANGER) as client:
        await client.get("/owners", headers=headers)
        app.state.telemetry.flush()
        (span,) = app.state.telemetry.exporter.get_finished_spans()
    assert span.parent is None
    assert span.links == ()


async def test_baggage_beyond_8_kib_is_ignored(settings: Settings) -> None:
    run = "k6.test_run_id=a-run"
    async with running_app(settings) as app, app_client(app) as client:
        for padding, is_run in ((8192 - len(run) - 1, True), (8192 - len(run), False)):
            app.state.telemetry.exporter.clear()
            await client.get("/livez", headers={"baggage": "x"})
            await client.get("/owners", headers={"baggage": f"{run},{'x' * padding}"})
            app.state.telemetry.flush()
            spans = app.state.telemetry.exporter.get_finished_spans()
            assert any("a-run" in span.to_json() for span in spans) == is_run


async def test_no_cache_keeps_what_callers_send(client: AsyncClient) -> None:
    def sizes() -> dict[str, int]:
        caches = [it for it in gc.get_objects() if isinstance(it, _lru_cache_wrapper)]
        return {f"{it.__module__}.{it.__qualname__}": it.cache_info().currsize for it in caches}

    async def ask(number: int) -> None:
        text = f"visitor-{number}"
        headers = {"cookie": f"a={text}", "baggage": f"k6.test_run_id={text}", "x-a": text}
        for path in (f"/owners/{number}", f"/pets/{number}/appointments", f"/schema/{text}"):
            await client.get(path, headers=headers)
        for query in (f"veterinarian={text}", f"limit={text}", f"a={text}", f"cursor={text}"):
            await client.get(f"/appointments?{query}", headers=headers)
        await client.post("/owners", json={"name": text, "email": text}, headers=headers)
        await client.patch(f"/owners/{number}", json={"name": text}, headers=headers)

    await ask(0)
    before = sizes()
    for number in range(1, 60):
        await ask(number)
    grown = {name: size - before.get(name, 0) for name, size in sizes().items()}
    assert {name: size for name, size in grown.items() if size > 16} == {}
