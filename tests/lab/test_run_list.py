"""The list of runs: from Prometheus, and from saved records that it no longer has."""

import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab.clients.endpoint import Endpoint
from lab.clients.prometheus import Prometheus
from lab.clients.publisher import publish
from lab.promql import published, run_list
from lab.promql.selectors import RunList
from lab.runs.run_list import Runs, RunSummary, UnknownRunError, list_runs
from tests.support.factories import BEGAN, make_record
from tests.support.fake_series import Feed, run_id
from tests.support.programs import NOWHERE, ask

stack = pytest.mark.stack

OLD, NEW = "20261124-100000-load", "before-the-change"


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save two records; the newer one has a name that says nothing of its time."""
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    make_record(run_id=OLD).save()
    later = replace(make_record().period, started=BEGAN + 600, ended=BEGAN + 660)
    make_record(run_id=NEW, period=later).save()
    return tmp_path


def runs_command(prometheus_url: str, folder: Path, *words: str) -> Any:
    return ask(
        *(prometheus_url, NOWHERE, "runs", *words), CLINIC_RESULTS_DIR=str(folder), COLUMNS="140"
    )


def line_of(run: str, output: str) -> list[str]:
    return next(line.split() for line in output.splitlines() if run in line.split())


def feed(prometheus: Prometheus, *, run: str = "", age: float = 200, **marks: Any) -> str:
    """Feed a run of 20 s with 100 requests: 5 failed, and the p95 is 30.2 ms."""
    series = Feed(run or run_id("smoke"), time.time() - age)
    series.requests("GET /owners", 95)
    series.requests("GET /owners", 5, 500)
    series.client_seconds("GET /owners", {-6: 100})
    if marks:
        series.marks("smoke", **marks)
    series.send(prometheus)
    return series.run


NO_VERDICT = ["–", "no", "verdict"]  # noqa: RUF001 - a dash
PASSED = {("http_req_duration", "p(95)<200"): True}
FAILED = {("http_req_failed", "rate<0.01"): False}


@stack
def test_each_run_has_a_line_with_its_verdict(prometheus: Prometheus, tmp_path: Path) -> None:
    passed = feed(prometheus, thresholds=PASSED)
    failed = feed(prometheus, thresholds=FAILED)
    aborted = feed(prometheus, thresholds=PASSED, planned=60.0)
    killed = feed(prometheus, ended=False)
    by_hand = feed(prometheus)
    # Its last push lies ahead, so that a slow machine has more time to list it.
    running = feed(prometheus, age=-8, ended=False)

    output = runs_command(prometheus.url, tmp_path).stdout

    values = ["100", "30.2", "5.00"]
    assert line_of(passed, output)[2:] == [
        passed,
        "smoke",
        "book",
        "20",
        "s",
        *values,
        "✓",
        "passed",
    ]
    assert line_of(failed, output)[-1] == "failed"
    assert line_of(aborted, output)[-2:] == ["■", "aborted"]
    assert line_of(killed, output)[5:] == ["-", *values, "■", "aborted"]
    assert line_of(running, output)[-1] == "running"
    assert line_of(by_hand, output)[-9:] == ["-", "-", "-", *values, *NO_VERDICT]


@stack
def test_the_newest_run_is_the_last_to_start_whatever_its_name(
    prometheus: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    older = feed(prometheus, age=300, thresholds=PASSED)
    named = feed(prometheus, run=run_id("named").partition("-")[2], age=150, thresholds=PASSED)

    ids = [run.run_id for run in list_runs(Endpoint(prometheus.url)).runs]

    assert ids.index(named) < ids.index(older)


@stack
def test_runs_that_prometheus_forgot_are_read_from_their_records(
    prometheus: Prometheus, saved: Path
) -> None:
    known = feed(prometheus, thresholds=PASSED)
    make_record(run_id=known).save()

    output = runs_command(prometheus.url, saved).stdout

    assert line_of(OLD, output)[2:] == [
        *(OLD, "*", "load", "book", "1", "min", "600", "50.0", "0.00", "✓", "passed")
    ]
    assert "* No longer in Prometheus" in output
    assert line_of(known, output)[2:5] == [known, "smoke", "book"]


def test_without_prometheus_saved_runs_are_listed_newest_first(saved: Path) -> None:
    every, last = runs_command(NOWHERE, saved), runs_command(NOWHERE, saved, "--last", "1")

    assert every.returncode == last.returncode == 0
    assert every.stdout.index(NEW) < every.stdout.index(OLD)
    assert "Prometheus does not answer" in every.stdout
    assert NEW in last.stdout
    assert OLD not in last.stdout
    assert "1 of 2 runs." in last.stdout


def test_report_without_an_id_takes_the_newest_run(saved: Path) -> None:
    report = ask(NOWHERE, NOWHERE, "report", CLINIC_RESULTS_DIR=str(saved))

    assert report.returncode == 0, report.stderr
    assert f"Run {NEW}  " in report.stdout


def test_an_unreadable_record_is_named_and_skipped(saved: Path) -> None:
    (saved / "other.json").write_text("{}")

    answer = runs_command(NOWHERE, saved)

    assert answer.returncode == 0
    assert "other.json" in answer.stdout
    assert OLD in answer.stdout


def test_no_runs_is_stated(tmp_path: Path) -> None:
    answer = runs_command(NOWHERE, tmp_path)

    assert answer.returncode == 0
    assert "No runs yet" in answer.stdout


def test_the_list_shows_names_notes_and_tags(saved: Path) -> None:
    words = {"name": "after", "note": "with index", "tags": {"env": "qa"}}
    make_record(run_id="20261124-235000-load", **words).save()

    narrow = runs_command(NOWHERE, saved).stdout
    wide = ask(NOWHERE, NOWHERE, "runs", CLINIC_RESULTS_DIR=str(saved), COLUMNS="160").stdout

    for output in (narrow, wide):
        assert line_of("after", output)
        assert "with index" in output
        assert "env=qa" in output
        assert "20261124-235000-load" not in output


@stack
def test_a_run_that_prometheus_alone_has_is_listed_with_its_published_words(
    prometheus: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    run, deleted = feed(prometheus, thresholds=PASSED), feed(prometheus, thresholds=PASSED)
    url = f"{prometheus.url}/api/v1/otlp/v1/metrics"
    for name in ("first", "second"):
        info = {"testid": run, "name": name, "note": "with index", "commit": "abc1234+"}
        assert publish(url, {published.INFO: [info]})
    baseline = {"testid": run, "profile": "smoke", "journey": "book"}
    assert publish(url, {published.BASELINE: [baseline]})
    assert publish(url, {published.DELETED: [{"testid": deleted}]})

    found = {run.run_id: run for run in list_runs(Endpoint(prometheus.url)).runs}

    assert deleted not in found
    words = found[run].info
    assert (words.name, words.note, words.commit) == ("second", "with index", "abc1234+")
    assert found[run].baseline
    choices = prometheus.by_label(run_list.choices(RunList("15d")), "testid", time.time())
    assert run in choices
    assert deleted not in choices


@stack
def test_grafana_offers_runs_in_the_order_of_the_list(
    prometheus: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    feed(prometheus, age=140, thresholds=PASSED)
    feed(prometheus, run=run_id("named").partition("-")[2], age=130, thresholds=PASSED)

    series = prometheus.series(run_list.choices(RunList("15d")), time.time())
    offered = [labels["testid"] for labels, _ in series if "profile" in labels]
    listed = [run.run_id for run in list_runs(Endpoint(prometheus.url)).runs]

    assert [run for run in listed if run in offered] == offered


@stack
def test_the_record_counts_where_prometheus_says_something_else(
    prometheus: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    run = feed(prometheus, thresholds=PASSED)
    info = {"testid": run, "name": "published"}
    assert publish(f"{prometheus.url}/api/v1/otlp/v1/metrics", {published.INFO: [info]})
    make_record(run_id=run, name="saved").save()

    assert list_runs(Endpoint(prometheus.url)).find("saved").run_id == run


@stack
def test_a_run_without_marks_is_listed_by_its_first_samples(
    prometheus: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    run = feed(prometheus, run=f"by-hand-{run_id()[-8:]}", age=100)

    started = list_runs(Endpoint(prometheus.url)).find(run).started

    assert started == pytest.approx(time.time() - 120, abs=5)


def summary(run: str) -> RunSummary:
    return RunSummary(run, 0.0, "load", "book", 60.0, 100, 0.05, 0.0, "passed")


def test_a_run_is_found_by_the_first_characters_of_its_id() -> None:
    runs = Runs([summary("20260102-load"), summary("20260101-load"), summary("20260101-load-2")])

    assert runs.find("20260102").run_id == "20260102-load"
    assert runs.find("20260101-load").run_id == "20260101-load"
    with pytest.raises(UnknownRunError, match="3 runs start with '2026'"):
        runs.find("2026")
    with pytest.raises(UnknownRunError, match="Similar ids: 20260102-load"):
        runs.find("20260103-load")
