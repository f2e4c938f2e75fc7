"""What is pinned, and that secrets, vulnerabilities and licences are found."""

import json
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from lab import audit, sbom
from lab.audit import Result
from lab.paths import PERFORMANCE, PROJECT
from lab.sbom import GO, TOOLS
from lab.stack.ports import free_ports
from lab.stack.programs import GO_WHEEL, JAEGER, MODULES, PROMETHEUS, Program, build
from tests.support.programs import running

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
UV = PYPROJECT["build-system"]["requires"][0].removeprefix("uv_build==")
UV_INSTALLED = re.compile(r"\b(?:pip install(?: --\S+)*|pipx run) uv\b(?:==([\d.]+))?")
UV_BY_ACTION = re.compile(r"setup-uv@.*\n\s+with:(?:\n\s+version: ([\d.]+)$)?", re.MULTILINE)
IMAGE_FILES = ("Dockerfile", "compose.yaml", "performance/kubernetes/testrun.yaml")
OWN_IMAGE = "vet-clinic-api"


def test_uv_has_one_version() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    installed = {
        name: versions
        for name in listed.stdout.splitlines()
        if (PROJECT / name).suffix in ("", ".md", ".yml", ".yaml", ".toml")
        and (text := (PROJECT / name).read_text())
        and (versions := UV_INSTALLED.findall(text) + UV_BY_ACTION.findall(text))
    }

    assert re.fullmatch(r"\d+\.\d+\.\d+", UV)
    assert installed.keys() >= {
        ".ci/run",
        ".github/actions/setup/action.yml",
        "Dockerfile",
        "README.md",
    }
    assert {version for versions in installed.values() for version in versions} == {UV}


def images(file: str) -> list[str]:
    named = re.findall(r"^(?:FROM|\s*image:) (\S+)", (PROJECT / file).read_text(), re.MULTILINE)
    return [image for image in named if image != OWN_IMAGE]


@pytest.mark.parametrize("file", IMAGE_FILES)
def test_every_image_has_a_tag_and_a_digest(file: str) -> None:
    assert images(file)
    for image in images(file):
        assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*@sha256:[0-9a-f]{64}", image), image


def test_an_image_has_one_digest() -> None:
    pinned = {image for file in IMAGE_FILES for image in images(file)}

    assert len(pinned) == len({image.partition("@")[0] for image in pinned})


def test_recipes_use_the_pinned_go() -> None:
    assert f"--from {GO_WHEEL} go -C tools" in (PROJECT / "justfile").read_text()


@pytest.fixture(scope="module")
def crane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build crane, which talks to registries and can be one."""
    program = tmp_path_factory.mktemp("crane") / "crane"
    package = "github.com/google/go-containerregistry/cmd/crane"
    subprocess.run([*GO, "-C", TOOLS, "build", "-o", program, package], check=True)
    return program


@pytest.fixture
def registry(crane: Path, tmp_path: Path) -> Iterator[str]:
    """Serve an empty registry of images."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    command: list[str | Path] = [crane, "registry", "serve", f"--address={address}"]
    with running(command, tmp_path / "registry.log", f"http://{address}/v2/"):
        yield address


def push(crane: Path, image: str, *platforms: str) -> str:
    """Push an image for some platforms as one index, and return the digest of that."""
    parts = []
    for platform in platforms:
        layer = crane.with_name("layer.tar")
        with tarfile.open(layer, "w") as archive:
            archive.add(PROJECT / "LICENSE", arcname=platform)
        name = f"{image}-{platform}"
        subprocess.run([crane, "append", f"--new_layer={layer}", f"--new_tag={name}"], check=True)
        parts.append(f"--manifest={name}")
    subprocess.run([crane, "index", "append", f"--tag={image}", *parts], check=True)
    repository, _, tag = image.partition("/")[2].rpartition(":")
    manifest = httpx.get(f"http://{image.partition('/')[0]}/v2/{repository}/manifests/{tag}")
    assert len(manifest.json()["manifests"]) == len(platforms)
    return f"sha256:{sha256(manifest.content).hexdigest()}"


@pytest.mark.stack
def test_images_are_pinned_to_what_their_tags_are_now(
    crane: Path, registry: str, tmp_path: Path
) -> None:
    compose, dockerfile = tmp_path / "compose.yaml", tmp_path / "Dockerfile"
    database, base = f"{registry}/postgres:18.4-alpine", f"{registry}/python:3.13.12-slim"
    text = "services:\n  api:\n    image: vet-clinic-api\n  db:\n    image: {}\n"
    compose.write_text(text.format(f"{database}@sha256:{'0' * 64}"))
    dockerfile.write_text(f"FROM {base} AS build\nRUN pip install uv\nFROM {base}\n")
    pinned = f"{base}@{push(crane, base, 'amd64', 'arm64')}"

    for platforms in (("amd64",), ("amd64", "arm64")):
        digest = push(crane, database, *platforms)
        subprocess.run(["just", "pin-images", compose, dockerfile], cwd=PROJECT, check=True)

        assert compose.read_text() == text.format(f"{database}@{digest}")
        assert dockerfile.read_text() == (
            f"FROM {pinned} AS build\nRUN pip install uv\nFROM {pinned}\n"
        )


@pytest.mark.stack
def test_images_stay_as_they_are_if_a_registry_does_not_answer(tmp_path: Path) -> None:
    compose = tmp_path / "compose.yaml"
    compose.write_text("    image: 127.0.0.1:1/postgres:18.4-alpine\n")

    result = subprocess.run(["just", "pin-images", compose], cwd=PROJECT, check=False)

    assert result.returncode != 0
    assert compose.read_text() == "    image: 127.0.0.1:1/postgres:18.4-alpine\n"


SECRETLINT = PERFORMANCE / "node_modules" / ".bin" / "secretlint"
needs_secretlint = pytest.mark.skipif(
    not SECRETLINT.exists(), reason="secretlint is not installed; `just lint-load` installs it"
)
# Put together here, as the scan reads this file too.
SECRETS = {
    "a-github-token": "gh" + "p_" + "a1B2c3D4e5F6" * 3,
    "an-aws-key": f"AWS_SECRET_ACCESS_{'KEY'}=" + "aB3/dE6+hI9kLm0nOpQrStUvWxYz1234567890Ab",
    "a-private-key": f"-----BEGIN {'RSA'} PRIVATE KEY-----\n"
    + "MIIEpAIBAAKCAQEA" * 12
    + "\n-----END RSA PRIVATE KEY-----",
    "a-password-in-a-url": "https" + "://clinic:kJ8mQ2vX7p@example.org/",
    "a-database-url": "postgresql" + "://clinic:kJ8mQ2vX7p@db.example.org:5432/clinic",
    "a-slack-token": "xo" + "xb-123456789012-1234567890123-aBcDeFgHiJkLmNoPqRsTuVwX",
}


def npm_secrets(project: Path) -> subprocess.CompletedProcess[str]:
    """Run the scan of `just lint-load` on a project."""
    return subprocess.run(
        ["npm", "run", "--silent", "secrets"],
        cwd=project / "performance",
        capture_output=True,
        text=True,
        check=False,
    )


@needs_secretlint
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_in_a_file_is_found(tmp_path: Path, secret: str) -> None:
    performance = tmp_path / "performance"
    performance.mkdir()
    for name in ("package.json", ".secretlintrc.json", "node_modules"):
        (performance / name).symlink_to(PERFORMANCE / name)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("node_modules\n")
    (tmp_path / "settings.py").write_text("TIMEOUT = 10\n")
    assert npm_secrets(tmp_path).returncode == 0

    (tmp_path / "settings.py").write_text(f"TIMEOUT = 10\n# {secret}\n")
    scan = npm_secrets(tmp_path)

    assert scan.returncode != 0
    assert "settings.py" in scan.stdout
    assert secret not in scan.stdout


@needs_secretlint
def test_no_file_of_the_project_has_a_secret() -> None:
    scan = npm_secrets(PROJECT)

    assert scan.returncode == 0, scan.stdout


class VulnerabilityService(BaseHTTPRequestHandler):
    """OSV's API, which knows one vulnerability, of h11."""

    def answer(self, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        known = [{"id": "TEST-1", "modified": "2026-01-01T00:00:00Z"}]
        vulnerable = type(self).vulnerable
        results = [{"vulns": known} if it["package"]["name"] == vulnerable else {} for it in asked]
        self.answer({"results": results})

    def do_GET(self) -> None:
        self.answer({"id": "TEST-1", "modified": "2026-01-01T00:00:00Z", "summary": "a test"})

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    vulnerable = ""


@pytest.mark.parametrize(
    ("vulnerable", "result"), [("", Result.OK), ("h11", Result.FOUND), ("zizmor", Result.FOUND)]
)
def test_vulnerabilities_of_pinned_packages_are_found(
    monkeypatch: pytest.MonkeyPatch, vulnerable: str, result: Result
) -> None:
    monkeypatch.setattr(VulnerabilityService, "vulnerable", vulnerable)
    with ThreadingHTTPServer(("127.0.0.1", 0), VulnerabilityService) as service:
        Thread(target=service.serve_forever, daemon=True).start()

        address = f"http://127.0.0.1:{service.server_port}/"
        assert audit.python_vulnerabilities(f"--service-url={address}") is result

        service.shutdown()


def test_a_vulnerability_service_that_does_not_answer_is_no_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")

    result = audit.python_vulnerabilities("--service-url=http://127.0.0.1:1/")

    assert result is Result.NOT_CHECKED


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ((Result.OK, Result.OK), 0),
        ((Result.OK, Result.NOT_CHECKED), 2),
        ((Result.NOT_CHECKED, Result.FOUND, Result.OK), 1),
    ],
)
def test_status_of_an_audit_says_if_something_was_found_or_not_checked(
    monkeypatch: pytest.MonkeyPatch, results: tuple[Result, ...], status: int
) -> None:
    monkeypatch.setattr(audit, "audit", lambda: [("A part", result) for result in results])

    with pytest.raises(SystemExit) as ended:
        audit.main()

    assert ended.value.code == status


FUNCTION = {"module": "golang.org/x/net", "version": "v0.57.0", "function": "Read"}
IMPORTED = {"module": "golang.org/x/net", "version": "v0.57.0", "package": "golang.org/x/net"}


@pytest.mark.parametrize(
    ("vulnerability", "trace", "result"),
    [
        ("GO-1", FUNCTION, Result.FOUND),
        ("GO-1", IMPORTED, Result.OK),
        ("GO-2", FUNCTION, Result.OK),
    ],
    ids=["called", "imported", "accepted"],
)
def test_a_vulnerable_function_that_a_program_can_call_is_found(
    monkeypatch: pytest.MonkeyPatch, vulnerability: str, trace: dict[str, str], result: Result
) -> None:
    finding = {"finding": {"osv": vulnerability, "trace": [trace]}}
    messages: tuple[dict[str, Any], ...] = ({"config": {}}, finding)
    output = "\n".join(json.dumps(message, indent=2) for message in messages)
    monkeypatch.setattr(audit, "run_go", lambda *_: output)
    monkeypatch.setitem(audit.SETTINGS, "accepted", {"GO-2": "the function is never called"})

    assert audit.go_vulnerabilities(MODULES / "k6", "file:///db") is result


@pytest.mark.stack
@pytest.mark.parametrize("program", [JAEGER, PROMETHEUS], ids=lambda it: it.name)
def test_a_program_is_described_without_folders_of_ours_and_with_its_own_hashes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Program
) -> None:
    def describe(*command: str | Path, **_: object) -> None:
        described.append(Path(command[-1]).read_bytes())
        hashes = [{"name": f"{sbom.HASH}SHA-256", "value": "of the copy"}]
        output.write_text(json.dumps({"metadata": {"properties": hashes}}))

    monkeypatch.setattr(sbom, "run", describe)
    described: list[bytes] = []
    output = tmp_path / "program.cdx.json"
    sbom.write_program(program, output)

    content = build(program).read_bytes()
    assert b"\n=>\t./" in content
    assert b"\n=>\t./" not in described[0]
    assert len(described[0]) == len(content)
    (stated,) = json.loads(output.read_text())["metadata"]["properties"]
    assert stated["value"] == sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("file", "licence", "refused"),
    [
        ("api.cdx.json", [{"license": {"id": "MIT"}}], 0),
        ("api.cdx.json", [{"expression": "Apache-2.0 OR BSD-2-Clause"}], 0),
        ("api.cdx.json", [{"expression": "MIT AND GPL-3.0-only"}], 1),
        ("api.cdx.json", [{"license": {"id": "AGPL-3.0-only"}}], 1),
        ("k6.cdx.json", [{"license": {"id": "AGPL-3.0-only"}}], 0),
        ("k6.cdx.json", [{"license": {"name": "Own licence"}}], 1),
        ("k6.cdx.json", [], 1),
    ],
)
def test_licences_that_are_not_allowed_are_found(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    file: str,
    licence: list[dict[str, str]],
    refused: int,
) -> None:
    monkeypatch.setattr(sbom, "API", tmp_path / "api.cdx.json")
    for component in ({"licenses": licence}, {"evidence": {"licenses": licence}}):
        content = {"components": [{"name": "a-package", **component}]}
        (tmp_path / file).write_text(json.dumps(content))

        assert len(list(audit.licences_not_allowed(tmp_path / file))) == refused
