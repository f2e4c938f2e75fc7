"""What callers may write, and in which form it is stored and found."""

from datetime import UTC, datetime, timedelta
from secrets import token_hex
from unicodedata import normalize

import pytest
from httpx import AsyncClient, Response

from tests.support.clinic import unique_email

pytestmark = pytest.mark.anyio

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).replace(second=0, microsecond=0)

NOT_SHOWN = {
    "zero width space": "\u200b",
    "zero width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "Hangul filler": "\u3164",
    "Braille blank": "\u2800",
    "tag": "\U000e0041",
    "no-break space": "\u00a0",
    "blanks": " \u3000\u2003 ",
    "punctuation": "...",
    "combining mark": "\u0301",
    "override": "\u202eevil\u202c",
    "isolate": "Ana\u2066",
    "right-to-left mark": "Ana\u200f",
    "next line": "A\u0085na",
    "control sequence": "A\u009b31mna",
    "escape": "A\x1b[31mna",
    "delete": "A\x7fna",
    "line separator": "A\u2028na",
    "paragraph separator": "A\u2029na",
    "line feed": "Ana\n",
    "tabulator": "A\tna",
    "null": "A\x00na",
    "non-character": "A\uffff",
    "unassigned": "A\u0378",
    "private use": "A\ue000",
    "joiner at the end": "Ana\u200d",
    "joiner beside a blank": "Ana \u200dB",
    "two joiners": "A\u200d\u200dna",
    "hidden filler": "A\u3164na",
    "joiner between Latin letters": "A\u200dna",
    "non-joiner between Cyrillic letters": "\u0410\u200c\u043d",
    "joiner between digits": "1\u200d2",
    "grapheme joiner": "A\u034fna",
    "inherent vowel": "A\u17b4na",
    "object replacement": "A\ufffcna",
    "variation of a Latin letter": "A\ufe0fna",
    "variation of a digit": "1\ufe0f2",
    "Mongolian variation of a Latin letter": "A\u180bna",
    "ideographic variation of a Latin letter": "A\U000e0100na",
    "variation at the start": "\ufe0fAna",
    "mark at the start": "\u0301Ana",
    "mark after a blank": "Ana \u0301Rojas",
    "tower of marks": "A" + "\u0316\u0317" * 4 + "na",
    "tower of marks with a joiner": "\u0915" + "\u0316" * 4 + "\u200d" + "\u0316" * 4,
}
SHOWN = {
    "José": "José",
    "  Ana  Rojas ": "Ana Rojas",
    "Ana\u00a0Rojas": "Ana Rojas",
    normalize("NFD", "Dueño Ñandú"): "Dueño Ñandú",
    "नमस्ते": "नमस्ते",
    "क्\u200dष": "क्\u200dष",
    "\u0645\u06cc\u200c\u062e\u0648": "\u0645\u06cc\u200c\u062e\u0648",
    "Luna 👩\u200d⚕️": "Luna 👩\u200d⚕️",
    "Luna \u2764\ufe0f 1\ufe0f\u20e3": "Luna \u2764\ufe0f 1\ufe0f\u20e3",
    "\u845b\U000e0100\u57ce": "\u845b\U000e0100\u57ce",
    "\u1820\u180b\u1828": "\u1820\u180b\u1828",
    "\u0dc1\u0dca\u200d\u0dbb\u0dd3": "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
    normalize("NFD", "Nguy\u1ec5n Th\u1ecb"): "Nguy\u1ec5n Th\u1ecb",
    "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd": normalize(
        "NFC", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd"
    ),
    "\u0e19\u0e49\u0e33\u0e1d\u0e19": "\u0e19\u0e49\u0e33\u0e1d\u0e19",
    "\u0f66\u0f92\u0fb2\u0f74\u0f56": "\u0f66\u0f92\u0fb2\u0f74\u0f56",
    "O'Brien-Smith (Jr.)": "O'Brien-Smith (Jr.)",
    "李": "李",
    "7": "7",
    "<script>": "<script>",
    "Dueño 3-1764170000000-17": "Dueño 3-1764170000000-17",
}


async def register(client: AsyncClient, **fields: str) -> Response:
    return await client.post("/owners", json={"name": "Ana", "email": unique_email(), **fields})


async def book(client: AsyncClient, pet_id: int, **fields: str) -> Response:
    body = {"scheduled_at": TOMORROW.isoformat(), "reason": "check-up", **fields}
    return await client.post(f"/pets/{pet_id}/appointments", json=body)


@pytest.mark.parametrize("kind", NOT_SHOWN)
async def test_text_that_shows_nothing_or_steers_the_screen_is_refused(
    client: AsyncClient, owner_id: int, pet_id: int, kind: str
) -> None:
    text = NOT_SHOWN[kind]
    for method, path, field in (
        ("POST", "/owners", "name"),
        ("PATCH", f"/owners/{owner_id}", "name"),
        ("PATCH", f"/pets/{pet_id}", "breed"),
        ("PATCH", f"/pets/{pet_id}", "species"),
    ):
        others = {"email": unique_email()} if method == "POST" else {}
        response = await client.request(method, path, json={**others, field: text})
        assert response.status_code == 400, (field, response.text)
        (error,) = response.json()["errors"]
        assert error["pointer"] == f"#/{field}"
        assert "letter or a digit" in error["detail"]
    for field in ("reason", "veterinarian"):
        assert (await book(client, pet_id, **{field: text})).status_code == 400
    found = await client.get("/appointments", params={"veterinarian": text})
    assert found.status_code == 400
    assert found.json()["errors"][0]["parameter"] == "veterinarian"


@pytest.mark.parametrize("text", SHOWN)
async def test_text_is_stored_in_one_form(client: AsyncClient, text: str) -> None:
    response = await register(client, name=text)
    assert response.status_code == 201
    assert response.json()["name"] == SHOWN[text]


async def test_the_limit_of_a_text_is_that_of_its_stored_form(
    client: AsyncClient, owner_id: int, pet_id: int
) -> None:
    grows = "\u0958"  # two characters in NFC

    for path, field, limit in (
        (f"/owners/{owner_id}", "name", 200),
        (f"/pets/{pet_id}", "breed", 200),
    ):
        accepted = await client.patch(path, json={field: grows * (limit // 2)})
        refused = await client.patch(path, json={field: grows * (limit // 2 + 1)})
        assert len(accepted.json()[field]) == limit
        assert (await client.patch(path, json={field: accepted.json()[field]})).status_code == 200
        assert refused.status_code == 400
        assert f"length <= {limit}" in refused.json()["errors"][0]["detail"]
    assert (await book(client, pet_id, reason=grows * 251)).status_code == 400
    assert (await book(client, pet_id, notes=grows * 2001)).status_code == 400
    assert (await book(client, pet_id, reason=grows * 250)).status_code == 201


@pytest.mark.parametrize(
    ("notes", "stored"),
    [
        ("", ""),
        (" \n ", ""),
        ("Line 1\nLine 2\r\n\tLine 3\n", "Line 1\nLine 2\r\n\tLine 3"),
        ("Alérgica a la penicilina…", "Alérgica a la penicilina…"),
        ("...", "..."),
        ("a\u202eb", None),
        ("a\u200b", None),
        ("a\x1b[2Jb", None),
        ("a\nb\u2028", None),
        ("a\u200d\nb", None),
        ("a\n\u0301b", None),
        ("a" + "\u0316" * 7, None),
        ("a" + "\u0316" * 6, "a" + "\u0316" * 6),
    ],
)
async def test_notes_have_lines(
    client: AsyncClient, pet_id: int, notes: str, stored: str | None
) -> None:
    response = await book(client, pet_id, notes=notes)
    assert response.status_code == (400 if stored is None else 201)
    if stored is not None:
        assert response.json()["notes"] == stored


@pytest.mark.parametrize(
    "asked",
    [
        "Dra. Núñez {}",
        "dra. núñez {}",
        "DRA. NÚÑEZ {}",
        "  Dra.  Núñez   {} ",
        normalize("NFD", "Dra. Núñez {}"),
        "Dra.\u00a0Núñez {}",
    ],
)
async def test_a_veterinarian_is_found_however_the_name_is_written(
    client: AsyncClient, pet_id: int, asked: str
) -> None:
    code = token_hex(4)
    booked = await book(client, pet_id, veterinarian=f"Dra. Núñez {code} ")
    found = await client.get("/appointments", params={"veterinarian": asked.format(code)})
    assert [it["id"] for it in found.json()] == [booked.json()["id"]]


@pytest.mark.parametrize(
    ("booked", "asked"),
    [
        ("Dr. Weiß", "DR. WEISS"),
        ("Dr. WEISS", "dr. weiß"),
        ("Σοφία Παπαδάς", "ΣΟΦΊΑ ΠΑΠΑΔΆΣ"),
        ("İpek", "i\u0307pek"),
        ("Hoﬀmann", "HOFFMANN"),
        ("Шишкин", "ШИШКИН"),
    ],
)
async def test_a_veterinarian_is_found_in_any_case_of_any_script(
    client: AsyncClient, pet_id: int, booked: str, asked: str
) -> None:
    code = token_hex(4)
    appointment = await book(client, pet_id, veterinarian=f"{booked} {code}")
    for status in ({}, {"status": "booked"}):
        query = {"veterinarian": f"{asked} {code}", **status}
        found = await client.get("/appointments", params=query)
        assert [it["id"] for it in found.json()] == [appointment.json()["id"]]


EMAILS = {
    "{}@example.org": "{}@example.org",
    " {}@example.org ": "{}@example.org",
    "a.b+{}@mail.example.co.uk": "a.b+{}@mail.example.co.uk",
    "o'brien!{}@example.org": "o'brien!{}@example.org",
    "{}@müller.example": "{}@xn--mller-kva.example",
    "{}@MÜLLER.example": "{}@xn--mller-kva.example",
    "{}@mu\u0308ller.example": "{}@xn--mller-kva.example",
    "{}@xn--mller-kva.example": "{}@xn--mller-kva.example",
    "{}@例え.テスト": "{}@xn--r8jz45g.xn--zckzah",
    "loadtest+3-1764170000000-{}@vetfeliz.cl": "loadtest+3-1764170000000-{}@vetfeliz.cl",
}
NO_EMAILS = [
    "ana",
    "ana@example",
    "a..b@example.org",
    ".ana@example.org",
    "ana.@example.org",
    "a" * 65 + "@example.org",
    "ana@1.2.3.4",
    "ana@[1.2.3.4]",
    "ana@-example.org",
    "ana@example-.org",
    "ana@exa_mple.org",
    "ana@example..org",
    "ana@example.org.",
    "ana@" + "x" * 64 + ".org",
    "ana@" + "abcdefg." * 32 + "org",
    "josé@example.org",
    '"ana rojas"@example.org',
    "ana @example.org",
    "ana@@example.org",
    "ana@exa mple.org",
    "ana@xn--a.example",
    "ana@\u200dexample.org",
    "ana\x00@example.org",
    "ana@example.org\n\n\x00",
    "@example.org",
]


@pytest.mark.parametrize("address", EMAILS)
async def test_mail_addresses_are_those_of_mail(client: AsyncClient, address: str) -> None:
    code = token_hex(4)
    response = await register(client, email=address.format(code))
    assert response.status_code == 201
    assert response.json()["email"] == EMAILS[address].format(code)


@pytest.mark.parametrize("address", NO_EMAILS)
async def test_other_addresses_are_refused(client: AsyncClient, address: str) -> None:
    response = await register(client, email=address)
    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "#/email"


async def test_an_address_that_is_not_ascii_before_the_at_is_told_so(client: AsyncClient) -> None:
    for address in ("josé@example.org", "\u0430na@example.org", "josé@müller.example"):
        [error] = (await register(client, email=address)).json()["errors"]
        assert "ASCII characters before the `@`" in error["detail"]


async def test_one_domain_in_two_scripts_is_one_address(client: AsyncClient) -> None:
    code = token_hex(4)
    assert (await register(client, email=f"{code}@müller.example")).status_code == 201
    assert (await register(client, email=f"{code}@xn--MLLER-KVA.example")).status_code == 409


@pytest.mark.parametrize(
    ("phone", "is_valid"),
    [
        ("+56912345678", True),
        (" +56 9 1234 5678 ", True),
        ("(02) 2345-678", True),
        ("+1.202.555.0100", True),
        ("112", True),
        ("123456789012345", True),
        ("1234567890123456", False),
        ("12", False),
        ("+", False),
        ("abc", False),
        ("call me maybe", False),
        ("<script>", False),
        ("0" * 200, False),
        ("+56+912345678", False),
        ("-56912345678", False),
        ("٣٤٥٦٧٨", False),
        ("+56 9 1234 5678 ext. 3", False),
        ("+56\u200b912345678", False),
    ],
)
async def test_phones_are_digits(client: AsyncClient, phone: str, *, is_valid: bool) -> None:
    response = await register(client, phone=phone)
    assert response.status_code == (201 if is_valid else 400)
    if is_valid:
        assert response.json()["phone"] == phone.strip()


@pytest.mark.parametrize("seconds", [0, 0.000001, 0.123, 1, 59.999999])
async def test_a_pet_has_one_appointment_a_minute(
    client: AsyncClient, pet_id: int, seconds: float
) -> None:
    time = TOMORROW + timedelta(seconds=30)
    assert (await book(client, pet_id, scheduled_at=time.isoformat())).status_code == 201
    again = TOMORROW + timedelta(seconds=seconds)
    response = await book(client, pet_id, scheduled_at=again.isoformat())
    assert response.status_code == 409
    assert response.json()["errors"][0]["pointer"] == "#/scheduled_at"
    for other in (timedelta(seconds=60), timedelta(seconds=-0.001)):
        at = (TOMORROW + other).isoformat()
        assert (await book(client, pet_id, scheduled_at=at)).status_code == 201


async def test_times_with_milliseconds_are_kept(client: AsyncClient, pet_id: int) -> None:
    time = f"{TOMORROW:%Y-%m-%dT%H:%M}:07.123Z"
    response = await book(client, pet_id, scheduled_at=time)
    assert response.status_code == 201
    assert response.json()["scheduled_at"] == f"{time[:-1]}000Z"


async def test_the_last_year_cannot_be_booked(client: AsyncClient, pet_id: int) -> None:
    response = await book(client, pet_id, scheduled_at="9999-01-01T00:00:00Z")
    assert response.status_code == 400
    assert "before the year 9999" in response.json()["errors"][0]["detail"]
    last = await book(client, pet_id, scheduled_at="9998-12-31T23:59:59.999999Z")
    agenda = await client.get("/appointments", params={"from": "9998-12-31T00:00:00Z"})
    assert last.json()["id"] in [it["id"] for it in agenda.json()]
