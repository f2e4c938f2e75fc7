"""What the script refuses before it sends any load: wrong settings and wrong targets."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lab.paths import PERFORMANCE
from lab.stack.programs import find
from tests.support.fake_clinic import FakeClinic, Request, Response
from tests.support.k6 import ABORTED, SCRIPT_FAILED, Script

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"PROFILE": "toString"}, "one of: smoke, load, soak, breakpoint, stress, spike"),
        ({"JOURNEY": "sing"}, "one of: book, browse, cancel, mixed"),
        ({"RUN_ID": "a b"}, "1 to 64 of the characters"),
        ({"RUN_ID": "x" * 65}, "1 to 64 of the characters"),
        ({"GENERATOR": "a b"}, "1 to 64 of the characters"),
        ({"DURATION": "5"}, 'DURATION is "5"; expected a duration up to 48h'),
        ({"DURATION": "0s"}, "a duration up to 48h"),
        ({"DURATION": "49h"}, "a duration up to 48h"),
        ({"RATE": "0"}, "a whole number from 1 to 10000"),
        ({"RATE": "1.5"}, "a whole number from 1 to 10000"),
        ({"VUS": "-3"}, "a whole number from 1 to 10000"),
        ({"RATE": "5", "PROFILE": "stress"}, "use VUS"),
        ({"TRACE_EVERY": "-1"}, "a whole number from 0 to 10000"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "tempo:4318"},
            "an address such as http://localhost:4318/v1/traces",
        ),
        ({"CLEANUP": "yes"}, 'CLEANUP is "yes"; expected 0 or 1'),
        ({"BASE_URL": "clinic:8000"}, "an address such as http://localhost:8000"),
    ],
)
def test_invalid_setting_is_rejected(
    script: Script, settings: dict[str, str], expected: str
) -> None:
    with FakeClinic() as clinic:
        outcome = script.finish(script.start(**{"BASE_URL": clinic.url} | settings))

    assert outcome.status == SCRIPT_FAILED
    assert expected in outcome.output.replace('\\"', '"')
    assert not clinic.requests


@pytest.mark.parametrize("variable", ["BASE_URL", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
@pytest.mark.parametrize(
    "address",
    [
        "http://user:hunter2@localhost:8000",
        "http://localhost:8000/?token=hunter2",
        "http://localhost:12/hunter2@localhost",
    ],
)
def test_a_refused_address_is_not_repeated(script: Script, variable: str, address: str) -> None:
    settings = {"BASE_URL": "http://localhost:1"} | {variable: address}
    outcome = script.finish(script.start(**settings))

    assert outcome.status == SCRIPT_FAILED
    assert f"{variable} is not an address such as http://" in outcome.output
    assert "hunter2" not in outcome.output


@pytest.mark.parametrize(
    "url",
    ["https://clinic.example.com", "http://10.1.2.3:8000", "http://127.0.0.1.evil.example:80"],
)
def test_remote_target_must_be_confirmed(script: Script, url: str) -> None:
    outcome = script.run(url)

    assert outcome.status == SCRIPT_FAILED
    assert f"BASE_URL is {url}, which is not this machine" in outcome.output
    assert "CONFIRM_TARGET=1" in outcome.output
    assert script.options(BASE_URL=url, CONFIRM_TARGET="1")


@pytest.mark.parametrize(
    "url",
    ["http://127.9.9.9", "http://[::1]:8000/clinic", "http://host.docker.internal:8000"],
)
def test_local_target_needs_no_confirmation(script: Script, url: str) -> None:
    assert script.options(BASE_URL=url)


def test_clinic_that_is_not_ready_gets_no_load(script: Script) -> None:
    with FakeClinic(ready=503) as clinic:
        outcome = script.iterations(3, clinic)

    assert outcome.status == ABORTED
    assert f"GET {clinic.url}/readyz returned 503, expected 200" in outcome.output
    assert [request.path for request in clinic.requests] == ["/readyz"]


def test_unreachable_target_gets_no_load(script: Script) -> None:
    with FakeClinic() as clinic:
        pass
    outcome = script.iterations(3, clinic)

    assert outcome.status == ABORTED
    assert "got no response" in outcome.output


def test_clinic_with_a_token_gets_load_only_with_it(script: Script) -> None:
    def authenticate(request: Request) -> Response | None:
        return None if request.headers.get("authorization") == "Bearer open" else (401, {})

    with FakeClinic(override=authenticate) as clinic:
        denied = script.iterations(1, clinic)
        loads = len(clinic.load)
        admitted = script.iterations(1, clinic, CLINIC_API_TOKEN="open")

    assert denied.status == ABORTED
    assert "status 401" in denied.output
    assert "CLINIC_API_TOKEN" in denied.output
    assert loads == 0
    assert admitted.status == 0


@pytest.mark.parametrize("response", [(404, {}), (200, {"hello": 1}), (200, [{"id": "a"}])])
def test_target_that_is_not_a_clinic_gets_no_load(script: Script, response: Response) -> None:
    with FakeClinic(override=lambda _: response) as other:
        outcome = script.iterations(1, other)

    assert outcome.status == ABORTED
    assert f"{other.url} is not a clinic" in outcome.output
    assert not other.load


@pytest.mark.parametrize("name", ["vet #1 100% ñ's clinic", "a?b", "a%20b", 'a"b\\c'])
def test_the_script_starts_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(
        PERFORMANCE, folder, ignore=shutil.ignore_patterns("node_modules", "results", "*.py")
    )

    inspected = subprocess.run(
        [find("k6"), "inspect", folder / "k6-load-test.js"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert inspected.returncode == 0, inspected.stderr
