"""HTTP as RFC 9110 has it: methods, paths, queries, bodies and headers of every route."""

import gzip
import json
from typing import Any

import pytest
from httpx import AsyncClient, Response
from litestar import Litestar

from clinic.settings import Settings
from tests.support.clinic import app_client, running_app, unique_email

pytestmark = pytest.mark.anyio

PROBLEM = "application/problem+json"
JSON = "application/json"
ALLOW = {
    "/owners": "GET, HEAD, POST, OPTIONS",
    "/owners/{owner_id}": "GET, HEAD, PATCH, DELETE, OPTIONS",
    "/owners/{owner_id}/pets": "GET, HEAD, POST, OPTIONS",
    "/pets/{pet_id}": "GET, HEAD, PATCH, DELETE, OPTIONS",
    "/pets/{pet_id}/appointments": "GET, HEAD, POST, OPTIONS",
    "/appointments": "GET, HEAD, OPTIONS",
    "/appointments/{appointment_id}": "GET, HEAD, PATCH, OPTIONS",
    "/appointments/{appointment_id}/cancel": "POST, OPTIONS",
    "/livez": "GET, HEAD, OPTIONS",
    "/readyz": "GET, HEAD, OPTIONS",
    "/schema": "GET, HEAD, OPTIONS",
    "/schema/openapi.json": "GET, HEAD, OPTIONS",
    "/schema/openapi.yaml": "GET, HEAD, OPTIONS",
}


@pytest.fixture
def paths(owner_id: int, pet_id: int, appointment_id: int) -> dict[str, str]:
    """Paths of existing resources by their templates."""
    ids = {"owner_id": owner_id, "pet_id": pet_id, "appointment_id": appointment_id}
    return {template: template.format_map(ids) for template in ALLOW}


def problem(response: Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    details: dict[str, Any] = response.json()
    assert details["status"] == status
    return details


async def test_every_route_states_all_its_methods(
    client: AsyncClient, app: Litestar, paths: dict[str, str]
) -> None:
    documented = app.openapi_schema.to_schema()["paths"]
    assert set(documented) <= set(ALLOW)
    for template, path in paths.items():
        options = await client.options(path)
        refused = await client.put(path)

        assert (options.status_code, options.content) == (204, b"")
        assert options.headers["allow"] == ALLOW[template]
        assert ALLOW[template] in problem(refused, 405)["detail"]
        assert refused.headers["allow"] == ALLOW[template]
        assert {method.upper() for method in documented.get(template, {})} <= set(
            ALLOW[template].split(", ")
        )


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get", "HEAD"])
async def test_other_methods_are_405(
    client: AsyncClient, paths: dict[str, str], method: str
) -> None:
    response = await client.request(method, paths["/appointments/{appointment_id}/cancel"])

    assert response.status_code == 405
    assert response.headers["allow"] == "POST, OPTIONS"


async def test_head_answers_the_headers_of_get_without_a_body(
    client: AsyncClient, paths: dict[str, str]
) -> None:
    for template, path in {**paths, "": "/owners/999999999", "?": "/owners?limit=0"}.items():
        if "GET" not in ALLOW.get(template, "GET"):
            continue
        get = await client.get(path)
        head = await client.head(path)

        assert head.status_code == get.status_code
        assert head.content == b""
        for name in get.headers.keys() - {"traceresponse"}:
            assert head.headers[name] == get.headers[name], (path, name)


async def test_every_response_forbids_caching_sniffing_and_embedding(
    client: AsyncClient, paths: dict[str, str]
) -> None:
    responses = [await client.get(path) for path in paths.values()]
    responses += [
        await client.get("/nothing"),
        await client.get("/schema/nothing"),
        await client.put("/owners"),
        await client.post("/owners", content=b"{}"),
        await client.options("/owners"),
        await client.delete(paths["/pets/{pet_id}"]),
    ]

    assert {response.status_code for response in responses} == {200, 204, 404, 405, 415}
    for response in responses:
        assert response.headers.get_list("cache-control") == ["no-store"]
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]
        assert response.headers.get_list("cross-origin-resource-policy") == ["same-origin"]


@pytest.mark.parametrize(
    "spelling",
    [
        "/owners/0{id}",
        "/owners/+{id}",
        "/owners/-{id}",
        "/owners/{id}_0",
        "/owners/{id}.0",
        "/owners/{id}e0",
        "/owners/%20{id}",
        "/owners/{id}%20",
        "/owners/%31",
        "/owners/%D9%A1",
        "/owners/%EF%BC%91",
        "/owners/0x1",
        "/owners/{id}%00",
        "/owners%2F{id}",
        "/owners/{id}%2Fpets",
        "/owners/{id}/",
        "/owners/",
        "//owners",
        "/owners//{id}",
        "/owners/{id}//pets",
        "/own%65rs",
        "/OWNERS",
        "/owners;v=1",
        "/livez/",
        "//livez",
        "/schema/",
        "/schema//openapi.json",
        "/schema/anything",
        "/schema/1",
        "/schema/ui",
        "/schema/%00",
        "/schema/openapi.yml/x",
        "/",
        "//",
        "/%",
        "/%ff",
    ],
)
async def test_other_spellings_of_a_path_are_404(
    client: AsyncClient, owner_id: int, spelling: str
) -> None:
    url = client.base_url.copy_with(raw_path=spelling.replace("{id}", str(owner_id)).encode())

    details = problem(await client.get(url), 404)

    assert details["detail"] == "There is nothing at this path."


@pytest.mark.parametrize(
    "path", ["/owners", "/owners/{owner_id}", "/appointments", "/livez", "/readyz", "/schema"]
)
@pytest.mark.parametrize("query", ["limt=5", "form=2090-01-01T00:00:00Z", "Limit=5", "=", "a"])
async def test_unknown_parameters_are_refused(
    client: AsyncClient, paths: dict[str, str], path: str, query: str
) -> None:
    details = problem(await client.get(f"{paths[path]}?{query}"), 400)

    [fault] = details["errors"]
    assert fault["parameter"] == query.partition("=")[0]
    assert "no such parameter" in fault["detail"]
    assert ("`limit`" in fault["detail"]) == (path in {"/owners", "/appointments"})


async def test_unknown_parameters_of_writing_operations_change_nothing(
    client: AsyncClient, paths: dict[str, str]
) -> None:
    appointment = paths["/appointments/{appointment_id}"]
    before = (await client.get(appointment)).json()

    problem(await client.post(f"{appointment}/cancel?dry_run=true"), 400)
    problem(await client.patch(f"{appointment}?x=", json={"reason": "x-ray"}), 400)
    problem(await client.delete(f"{paths['/pets/{pet_id}']}?force=1"), 400)

    assert (await client.get(appointment)).json() == before


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=1&limit=2", "limit"),
        ("limit=1&limit=1", "limit"),
        ("status=booked&status=cancelled", "status"),
        ("l%69mit=1&limit=2", "limit"),
        ("veterinarian=a&veterinarian=b", "veterinarian"),
    ],
)
async def test_repeated_parameters_are_refused(
    client: AsyncClient, query: str, parameter: str
) -> None:
    details = problem(await client.get(f"/appointments?{query}"), 400)

    assert details["errors"] == [
        {"detail": "Expected this parameter once.", "parameter": parameter}
    ]


@pytest.mark.parametrize(
    "limit",
    [
        "5.0",
        "1e1",
        "05",
        "%2B5",
        "+5",
        "5%20",
        "%205",
        "1_0",
        "%D9%A5",
        "0x5",
        "",
        "Infinity",
        "null",
    ],
)
async def test_other_spellings_of_a_number_are_refused(client: AsyncClient, limit: str) -> None:
    details = problem(await client.get(f"/owners?limit={limit}"), 400)

    assert [fault["parameter"] for fault in details["errors"]] == ["limit"]


@pytest.mark.parametrize(
    "query", ["veterinarian=%ff", "veterinarian=%", "veterinarian=%zz", "%c0%af"]
)
async def test_a_query_that_is_not_utf_8_is_refused(client: AsyncClient, query: str) -> None:
    details = problem(await client.get(f"/appointments?{query}"), 400)

    assert "UTF-8" in details["errors"][0]["detail"]


@pytest.mark.usefixtures("owner_id")
@pytest.mark.parametrize("change", ["{}=", "{}!!!", "%20{}", "{}%0A", "0{}", "{}.0", "+{}", "{}_1"])
async def test_a_cursor_has_one_spelling(client: AsyncClient, change: str) -> None:
    await client.post("/owners", json={"name": "Ana", "email": unique_email()})
    link = (await client.get("/owners?limit=1")).links["next"]["url"]
    cursor = link.rpartition("cursor=")[2]

    problem(await client.get(f"/owners?limit=1&cursor={change.format(cursor)}"), 400)

    assert (await client.get(link)).status_code == 200


async def test_empty_parameters_are_refused(client: AsyncClient) -> None:
    for empty in ("cursor=", "from=", "to=", "status=", "veterinarian="):
        problem(await client.get(f"/appointments?{empty}"), 400)


def registration() -> bytes:
    return json.dumps({"name": "Ana", "email": unique_email()}).encode()


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/merge-patch+json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        'application/json; charset="iso-8859-1"',
    ],
)
async def test_a_body_that_is_not_declared_as_json_is_415(
    client: AsyncClient, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}

    response = await client.post("/owners", content=registration(), headers=headers)

    problem(response, 415)
    assert response.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; charset=UTF-8",
        "application/json; profile=x",
    ],
)
async def test_json_is_declared_in_any_case_and_in_utf_8(
    client: AsyncClient, content_type: str
) -> None:
    headers = {"content-type": content_type}

    response = await client.post("/owners", content=registration(), headers=headers)

    assert response.status_code == 201


async def test_two_content_types_are_415(client: AsyncClient) -> None:
    headers = [("content-type", JSON), ("content-type", "text/plain")]

    problem(await client.post("/owners", content=registration(), headers=headers), 415)


async def test_a_merge_patch_has_its_own_media_type(client: AsyncClient, owner_id: int) -> None:
    headers = {"content-type": "application/merge-patch+json"}

    response = await client.patch(
        f"/owners/{owner_id}", content=b'{"phone": "123"}', headers=headers
    )
    refused = await client.patch(f"/owners/{owner_id}", content=b"phone=123")

    assert response.json()["phone"] == "123"
    problem(refused, 415)
    assert refused.headers["accept"] == "application/json, application/merge-patch+json"


@pytest.mark.parametrize(
    "coding", ["gzip", "GZIP", "br", "deflate", "zstd", "gzip, identity", "identity, gzip", "none"]
)
async def test_a_compressed_body_is_415(client: AsyncClient, pet_id: int, coding: str) -> None:
    headers = {"content-type": JSON, "content-encoding": coding}
    for body in (registration(), gzip.compress(registration())):
        response = await client.post("/owners", content=body, headers=headers)

        problem(response, 415)
        assert response.headers["accept-encoding"] == "identity"
    problem(await client.patch(f"/pets/{pet_id}", content=b"{}", headers=headers), 415)


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "identity", "chunked, gzip"])
async def test_a_transfer_coding_other_than_chunked_is_400(
    client: AsyncClient, coding: str
) -> None:
    headers = {"content-type": JSON, "transfer-encoding": coding}

    response = await client.post("/owners", content=registration(), headers=headers)

    assert "`chunked`" in problem(response, 400)["detail"]


async def test_an_identity_coding_is_accepted(client: AsyncClient) -> None:
    headers = {"content-type": JSON, "content-encoding": "Identity"}

    response = await client.post("/owners", content=registration(), headers=headers)

    assert response.status_code == 201


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"phone": "111", "phone": "222"}', "#/phone"),
        (b'{"phone": "111", "phone": "111"}', "#/phone"),
        (b'{"phone": null, "name": "Eva", "phone": "222"}', "#/phone"),
        (b'{"phone": "111", "ph\\u006fne": "222"}', "#/phone"),
        (b'{"\\u0070hone": "111", "ph\\u006fne": "222"}', "#/phone"),
        (b'{"name":"a","name" \n : "b"}', "#/name"),
    ],
)
async def test_names_that_occur_twice_in_a_body_are_refused(
    client: AsyncClient, owner_id: int, body: bytes, pointer: str
) -> None:
    before = (await client.get(f"/owners/{owner_id}")).json()

    response = await client.patch(
        f"/owners/{owner_id}", content=body, headers={"content-type": JSON}
    )

    [fault] = problem(response, 400)["errors"]
    assert fault == {"detail": "Expected this field once.", "pointer": pointer}
    assert (await client.get(f"/owners/{owner_id}")).json() == before


async def test_values_may_look_like_names(client: AsyncClient, pet_id: int) -> None:
    body = {"name": '"name"', "breed": "name"}

    response = await client.patch(f"/pets/{pet_id}", json=body)

    assert response.json() | body == response.json()


async def test_an_operation_without_a_body_takes_none_or_an_empty_object(
    client: AsyncClient, paths: dict[str, str]
) -> None:
    path = paths["/appointments/{appointment_id}/cancel"]
    json_type = {"content-type": JSON}

    problem(
        await client.post(path, content=b"reason=x", headers={"content-type": "text/plain"}), 415
    )
    problem(await client.post(path, content=b"{}"), 415)
    problem(await client.post(path, content=b"{", headers=json_type), 400)
    problem(await client.post(path, json={"reason": "ill"}), 400)
    problem(await client.request("DELETE", paths["/pets/{pet_id}"], json={"all": True}), 400)
    gzipped = {**json_type, "content-encoding": "gzip"}
    problem(await client.post(path, content=gzip.compress(b"{}"), headers=gzipped), 415)

    assert (await client.get(path.removesuffix("/cancel"))).json()["status"] == "booked"
    assert (await client.post(path, json={})).status_code == 200
    assert (await client.post(path)).status_code == 200


async def test_authentication_comes_before_all_else(settings: Settings) -> None:
    async with (
        running_app(settings, api_token="correct-horse-battery") as app,
        app_client(app) as client,
    ):
        unknown_parameter = await client.get("/owners?limt=5")
        plain = await client.post("/owners", content=b"x")

    problem(unknown_parameter, 401)
    problem(plain, 401)


@pytest.mark.parametrize(
    "cursor", ["0_0", "-1_0", "1_1", f"{'9' * 18}_1", f"-{'9' * 18}_{'9' * 18}"]
)
async def test_every_cursor_that_the_document_allows_is_a_position(
    client: AsyncClient, cursor: str
) -> None:
    response = await client.get(f"/appointments?cursor={cursor}&limit=1")

    assert response.status_code == 200
