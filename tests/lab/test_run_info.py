"""What a run was made for: its note, its tags, and the build that it measured."""

import subprocess
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from lab.clients.prometheus import Prometheus
from lab.errors import UserError
from lab.promql.selectors import RETENTION, RunSelector
from lab.runs import environment, run_info
from lab.runs.environment import read_environment
from lab.runs.record import load_saved
from lab.runs.run_info import check_note, labels, read_published
from lab.stack.config import StackConfig
from tests.support.factories import ENVIRONMENT, make_record
from tests.support.fake_clinic import FakeClinic
from tests.support.programs import NOWHERE, ask


@pytest.mark.parametrize("note", ["x" * 201, "two\nlines", "an escape \x1b[2J"])
def test_a_note_is_one_line_of_printable_characters(note: str) -> None:
    with pytest.raises(UserError, match="expected one line of at most 200 printable characters"):
        check_note(note)


def test_a_note_may_have_200_characters_of_any_language() -> None:
    assert check_note(" con índice " + "x" * 188) == "con índice " + "x" * 188


def test_a_wrong_note_stops_a_run_before_it_starts() -> None:
    refused = ask(NOWHERE, NOWHERE, "run", "smoke", NOTE="x" * 201)

    assert refused.returncode == 1
    assert "NOTE has 201 characters" in refused.stderr


def test_the_labels_of_a_run_are_those_of_its_record() -> None:
    record = make_record(
        name="after",
        note="with index",
        tags={"env": "qa", "owner": "me"},
        environment=replace(ENVIRONMENT, commit="abc1234+"),
    )

    assert labels(record, "http://clinic/after.html") == {
        "testid": record.run_id,
        "name": "after",
        "note": "with index",
        "tags": "env=qa, owner=me",
        "version": "0.1.0",
        "commit": "abc1234+",
        "report": "http://clinic/after.html",
    }


def test_tags_are_what_all_generators_add_to_the_labels_of_k6_and_the_script() -> None:
    own = {"testid": "r", "profile": "load", "journey": "book", "__name__": "k6_run"}
    own |= {"k6_feature_native_histograms": "true"}
    all_have = {**own, "env": "qa", "owner": "me"}
    marks = [{**all_have, "instance": "a", "part": "1"}, {**all_have, "instance": "b", "part": "2"}]

    assert run_info.tags(marks) == {"env": "qa", "owner": "me"}


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setattr(environment, "PROJECT", folder)
    return folder


def commit_of(folder: Path) -> str:
    config = StackConfig(folder / "state", prometheus_port=1)
    return read_environment(config, {"BASE_URL": NOWHERE}).commit


def test_the_commit_is_marked_where_files_differ_from_it(project: Path) -> None:
    git(project, "init", "--quiet")
    (project / "file").write_text("1")
    git(project, "add", "file")
    git(project, "commit", "--quiet", "--message=one")
    git(project, "tag", "v1")
    commit = git(project, "rev-parse", "--short", "HEAD").strip()

    assert commit_of(project) == commit
    (project / "file").write_text("2")
    assert commit_of(project) == f"{commit}+"


def test_there_is_no_commit_outside_git(project: Path) -> None:
    assert not commit_of(project)
    git(project.parent, "init", "--quiet")
    git(project.parent, "commit", "--quiet", "--allow-empty", "--message=another project")
    assert not commit_of(project)


@pytest.mark.stack
def test_a_run_records_and_publishes_what_it_was_made_for(
    prometheus: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    settings = {"RUN": "noted", "NOTE": "with index", "K6_TAGS": "env=qa", "DURATION": "3s"}
    settings["CLINIC_RESULTS_DIR"] = str(tmp_path)
    with FakeClinic() as clinic:
        answer = ask(prometheus.url, NOWHERE, "run", "smoke", BASE_URL=clinic.url, **settings)

    saved = load_saved("noted")
    assert saved, answer.stderr
    assert saved.environment
    assert (saved.note, saved.tags) == ("with index", {"env": "qa"})
    run = RunSelector("noted", RETENTION)
    published = read_published(prometheus, run, time.time())["noted"]
    assert published["note"] == "with index"
    assert published["tags"] == "env=qa"
    assert published.get("commit", "") == saved.environment.commit
