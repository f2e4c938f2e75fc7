"""Dashboards in another Grafana: what `lab publish` sends to its API, and files to import."""

import base64
import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from lab.cli import cli
from lab.dashboards.publish import committed
from lab.paths import PROJECT
from tests.support.fake_clinic import FakeClinic, Request, Response

PROMETHEUS = {"uid": "m-1", "name": "Company metrics", "type": "prometheus"}
TEMPO = {"uid": "t-1", "name": "Company traces", "type": "tempo"}
OTHER = {"uid": "m-2", "name": "Older metrics", "type": "prometheus"}
TOKEN = "glsa_secret"
UIDS = set(committed())


class Grafana:
    """Grafana's API as far as `publish` uses it; it stores what it is sent."""

    def __init__(self, *sources: dict[str, str]) -> None:
        self.sources = sources
        self.folders: dict[str, dict[str, str]] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.provisioned: set[str] = set()
        self.answers: dict[str, Response] = {}
        self.writes: list[Request] = []

    def respond(self, request: Request) -> Response:
        if request.path in self.answers:
            return self.answers[request.path]
        if request.path == "/api/health":
            return 200, {"database": "ok", "version": "12.3.0"}
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"message": "Unauthorized"}
        if request.method == "POST":
            return self._write(request)
        if request.path == "/api/datasources":
            return 200, list(self.sources)
        uid = request.path.rsplit("/", 1)[1]
        is_folder = "/folders/" in request.path
        found = (self.folders if is_folder else self.dashboards).get(uid)
        # Grafana 12 tells an Editor no more of a folder that does not exist.
        missing = 403 if is_folder else 404
        return (200, found) if found else (missing, {"message": "Access denied or not found"})

    def _write(self, request: Request) -> Response:
        self.writes.append(request)
        if request.path == "/api/folders":
            self.folders[request.body["uid"]] = request.body
            return 200, request.body
        new = request.body["dashboard"]
        version = self.dashboards.get(new["uid"], {"dashboard": {"version": 0}})
        stored = {**new, "id": 7, "version": version["dashboard"]["version"] + 1}
        self.dashboards[new["uid"]] = {
            "dashboard": stored,
            "meta": {
                "folderUid": request.body["folderUid"],
                "provisioned": new["uid"] in self.provisioned,
            },
        }
        return 200, {"uid": new["uid"], "status": "success"}


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


def publish(grafana: Grafana, token: Path | None, *options: str, path: str = "") -> Result:
    with FakeClinic(override=grafana.respond) as server:
        tokens = ["--token-file", str(token)] if token else []
        arguments = ["publish", "--grafana", server.url + path, *tokens, *options]
        return CliRunner().invoke(cli, arguments)


def states(result: Result) -> dict[str, str]:
    assert result.exit_code == 0, result.output
    return dict(re.findall(r"^(clinic-[a-z-]+): (.+)$", result.output, re.MULTILINE))


def test_an_empty_grafana_gets_a_folder_with_every_dashboard(token: Path) -> None:
    grafana = Grafana(PROMETHEUS, TEMPO)

    result = publish(grafana, token)

    assert states(result) == dict.fromkeys(UIDS, "created")
    assert grafana.folders == {"vet-clinic": {"uid": "vet-clinic", "title": "Vet clinic"}}
    for uid, stored in grafana.dashboards.items():
        assert stored["meta"]["folderUid"] == "vet-clinic"
        assert stored["dashboard"] == committed()[uid] | {"id": 7, "version": 1}
    assert TOKEN not in result.output


def test_a_grafana_on_this_machine_is_asked_without_a_proxy(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert publish(Grafana(PROMETHEUS, TEMPO), token).exit_code == 0


def test_a_second_time_changes_nothing(token: Path) -> None:
    grafana = Grafana(PROMETHEUS, TEMPO)
    publish(grafana, token)
    grafana.writes.clear()

    assert states(publish(grafana, token)) == dict.fromkeys(UIDS, "unchanged")
    assert not grafana.writes


def test_only_what_was_changed_in_grafana_is_published_again(token: Path) -> None:
    grafana = Grafana(PROMETHEUS, TEMPO)
    publish(grafana, token)
    grafana.dashboards["clinic-api"]["dashboard"]["title"] = "Renamed"
    grafana.dashboards["clinic-runs"]["meta"]["folderUid"] = "elsewhere"
    grafana.writes.clear()

    changed = {"clinic-api": "updated", "clinic-runs": "moved to the folder"}
    assert states(publish(grafana, token)) == dict.fromkeys(UIDS, "unchanged") | changed
    assert {write.body["dashboard"]["uid"] for write in grafana.writes} == set(changed)
    assert all(write.body["overwrite"] for write in grafana.writes)


def test_a_dry_run_shows_the_difference_and_writes_nothing(token: Path) -> None:
    grafana = Grafana(PROMETHEUS, TEMPO)
    assert set(states(publish(grafana, token, "--dry-run")).values()) == {"would be created"}
    assert not grafana.writes
    publish(grafana, token)
    grafana.dashboards["clinic-api"]["dashboard"]["title"] = "Renamed"
    grafana.writes.clear()

    result = publish(grafana, token, "--dry-run")

    expected = dict.fromkeys(UIDS, "unchanged") | {"clinic-api": "would be updated"}
    assert states(result) == expected
    assert re.search(
        r'^  - *"title": "Renamed",\n  \+ *"title": "Clinic API",$', result.output, re.MULTILINE
    )
    assert not grafana.writes


def test_dashboards_open_with_the_data_sources_that_were_named(token: Path) -> None:
    grafana = Grafana(PROMETHEUS, OTHER, TEMPO)

    publish(grafana, token, "--prometheus", "Older metrics", "--tempo", "t-1")

    for stored in grafana.dashboards.values():
        variables = {it["name"]: it for it in stored["dashboard"]["templating"]["list"]}
        assert variables["metrics"]["current"] == {"text": "Older metrics", "value": "m-2"}
        assert variables["traces"]["current"] == {"text": "Company traces", "value": "t-1"}


def test_missing_and_several_data_sources_are_said(token: Path) -> None:
    result = publish(Grafana(PROMETHEUS, OTHER), token)

    assert result.exit_code == 0
    assert "no Tempo data source" in result.output
    assert "several Prometheus data sources (Company metrics, Older metrics)" in result.output


def test_a_data_source_that_is_not_there_is_refused_before_anything_is_written(
    token: Path,
) -> None:
    grafana = Grafana(PROMETHEUS, TEMPO)

    result = publish(grafana, token, "--tempo", "nowhere")

    assert result.exit_code == 1
    assert "no Tempo data source 'nowhere'; it has Company traces" in result.output
    assert not grafana.writes


def test_a_token_that_may_not_list_data_sources_publishes_all_the_same(token: Path) -> None:
    grafana = Grafana()
    grafana.answers["/api/datasources"] = (403, {"message": "no"})

    result = publish(grafana, token, "--prometheus", "m-1")

    assert states(result) == dict.fromkeys(UIDS, "created")
    assert "may not list data sources" in result.output


def test_dashboards_of_files_are_not_overwritten(token: Path) -> None:
    grafana = Grafana(PROMETHEUS, TEMPO)
    grafana.provisioned = {"clinic-home"}
    publish(grafana, token)
    grafana.writes.clear()

    result = publish(grafana, token)

    assert "provisions clinic-home from its own files" in result.output
    assert not grafana.writes


def test_another_dashboard_with_the_same_uid_is_not_overwritten(token: Path) -> None:
    grafana = Grafana(PROMETHEUS, TEMPO)
    theirs = {"uid": "clinic-api", "title": "Their clinic", "panels": []}
    grafana.dashboards["clinic-api"] = {"dashboard": theirs, "meta": {"folderUid": ""}}

    result = publish(grafana, token)

    assert result.exit_code == 1
    assert "another dashboard with the uid clinic-api, 'Their clinic'" in result.output
    assert not grafana.writes


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"/api/folders": (403, {"message": "Forbidden"})}, "role Editor. Forbidden"),
        ({"/api/dashboards/db": (412, {"message": "too new"})}, r"\(status 412\): too new"),
        ({"/api/health": (200, {"status": "up"})}, "not as Grafana does"),
        ({"/api/health": (302, {})}, "Grafana's own address"),
    ],
)
def test_what_grafana_refuses_is_said(
    token: Path, answers: dict[str, Response], words: str
) -> None:
    grafana = Grafana(PROMETHEUS, TEMPO)
    grafana.answers = answers

    result = publish(grafana, token)

    assert result.exit_code == 1
    assert re.search(words, result.output)
    assert TOKEN not in result.output


def test_a_wrong_token_is_said(tmp_path: Path) -> None:
    assert "refuses the token" in publish(Grafana(), None).output
    file = tmp_path / "two-lines"
    file.write_text("one\ntwo\n")
    assert "one line with a token" in publish(Grafana(), file).output
    assert "cannot be read" in publish(Grafana(), tmp_path / "nowhere").output


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    result = CliRunner().invoke(cli, ["publish", "--grafana", "http://user:hunter2@localhost:1"])

    assert "without a user, a password" in result.output
    assert "hunter2" not in result.output


def test_a_grafana_that_is_not_there_is_said() -> None:
    result = CliRunner().invoke(cli, ["publish", "--grafana", "http://127.0.0.1:1"])

    assert "cannot be reached" in result.output


def test_files_to_import_ask_for_the_data_sources(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["publish", "--output", str(tmp_path / "files")])

    assert result.exit_code == 0
    files = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "files").iterdir()}
    assert set(files) == UIDS
    for uid, file in files.items():
        inputs = {it["name"]: it["pluginId"] for it in file["__inputs"]}
        assert inputs == {"DS_METRICS": "prometheus", "DS_TRACES": "tempo"}
        variables, own = (it["templating"].pop("list") for it in (file, committed()[uid]))
        chosen = {"metrics": "${DS_METRICS}", "traces": "${DS_TRACES}"}
        for variable, as_committed in zip(variables, own, strict=True):
            if value := chosen.pop(variable["name"], ""):
                assert variable.pop("current") == {"text": "", "value": value}
                del as_committed["current"]
            assert variable == as_committed
        assert not chosen
        # Grafana fills in inputs wherever their names occur: nothing else may look like one.
        assert "${DS_" not in json.dumps({k: v for k, v in file.items() if k != "__inputs"})
        rest = {k: v for k, v in file.items() if not k.startswith("__")}
        assert rest == committed()[uid] | {"templating": {}}


def test_a_grafana_or_a_folder_must_be_given(tmp_path: Path) -> None:
    for arguments in ([], ["--grafana", "http://127.0.0.1:1", "--output", str(tmp_path)]):
        result = CliRunner().invoke(cli, ["publish", *arguments])
        assert "--grafana URL or --output FOLDER" in result.output


def test_the_operator_gets_the_committed_dashboards() -> None:
    script = PROJECT / "deploy" / "grafana" / "operator.sh"
    printed = subprocess.run(["sh", script, "team: a"], capture_output=True, text=True, check=True)

    folder, *resources = yaml.safe_load_all(printed.stdout)

    assert folder["kind"] == "GrafanaFolder"
    found = {it["metadata"]["name"]: it["spec"] for it in resources}
    assert set(found) == UIDS
    for uid, spec in found.items():
        assert spec["folderRef"] == folder["metadata"]["name"]
        assert spec["instanceSelector"] == {"matchLabels": {"team": "a"}}
        dashboard = json.loads(gzip.decompress(base64.b64decode(spec["gzipJson"])))
        assert dashboard == committed()[uid]
