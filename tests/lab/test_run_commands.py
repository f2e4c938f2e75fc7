"""Runs named, deleted, pinned, opened and selected, by commands."""

import json
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lab.clients.endpoint import Endpoint
from lab.clients.prometheus import Prometheus
from lab.clients.spans import Period
from lab.promql import published
from lab.promql.selectors import RETENTION, RunList, RunSelector
from lab.reports import run_list
from lab.runs.record import load_saved
from lab.runs.run_info import read_published
from lab.runs.run_list import list_runs
from tests.support.factories import BEGAN, make_record
from tests.support.fake_series import Feed, run_id
from tests.support.programs import NOWHERE, ask

stack = pytest.mark.stack

OLD, NEW = "20261124-100000-load", "20261124-110000-load"
BROWSED = "20261124-120000-load"

Just = Callable[..., Any]


@pytest.fixture
def just(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Just:
    """Return a command on three saved runs, without a Prometheus unless one is named."""
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    runs: dict[str, dict[str, Any]] = {
        OLD: {"tags": {"env": "qa", "owner": "me"}},
        NEW: {"tags": {"env": "qa"}},
        BROWSED: {"journey": "browse"},
    }
    for number, (run, changes) in enumerate(runs.items()):
        began = BEGAN + 600 * number
        make_record(run_id=run, period=Period(began, began + 60), **changes).save()

    def run_command(*words: str, prometheus: str = NOWHERE, **settings: str) -> Any:
        return ask(
            *(prometheus, NOWHERE, *words), **{"CLINIC_RESULTS_DIR": str(tmp_path), **settings}
        )

    return run_command


def saved(run: str) -> Any:
    record = load_saved(run)
    assert record
    return record


def feed(prometheus: Prometheus, run: str = "", age: float = 200) -> str:
    """Feed a finished run of 20 s with the tag env=qa."""
    series = Feed(run or run_id("smoke"), time.time() - age)
    series.requests("GET /owners", 100)
    series.client_seconds("GET /owners", {-6: 100})
    series.marks("smoke", thresholds={("http_req_duration", "p(95)<200"): True})
    series.send(prometheus)
    return series.run


# Choosing


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["--profile", "load", "--journey", "browse"], [BROWSED]),
        (["--tag", "env=qa"], [NEW, OLD]),
        (["--tag", "env=qa", "--tag", "owner=me"], [OLD]),
        (["--tag", "env=qa", "--last", "1"], [NEW]),
        (["--profile", "stress"], []),
    ],
)
def test_runs_are_chosen_by_profile_journey_and_tags(
    just: Just, words: list[str], runs: list[str]
) -> None:
    listed = json.loads(just("runs", "--json", *words).stdout)

    assert [run["run_id"] for run in listed] == runs


def test_a_selection_of_nothing_is_stated(just: Just) -> None:
    assert "No run matches." in just("runs", "--journey", "cancel").stdout


def test_a_tag_without_a_value_is_refused(just: Just) -> None:
    refused = just("runs", "--tag", "env")

    assert refused.returncode == 2
    assert "env is not a tag such as env=qa." in refused.stderr


@pytest.mark.usefixtures("just")
def test_the_list_fits_into_80_columns() -> None:
    make_record(
        run_id="20261124-130000-breakpoint", profile="breakpoint", journey="browse", note="n" * 200
    ).save()
    runs, output = list_runs(Endpoint(NOWHERE)), StringIO()

    run_list.show(Console(file=output, width=80), runs, runs.runs, None)

    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if "20261124-130000-" in line.split()]


# Names


def test_a_name_stands_for_the_id(just: Just) -> None:
    named = just("rename", OLD, "before")

    assert named.returncode == 0, named.stderr
    assert f"{OLD} is now called before." in named.stdout
    assert saved(OLD).name == "before"
    assert f"Run before ({OLD})" in just("report", "befo").stdout
    assert "before" in just("runs").stdout


def test_the_id_as_its_name_takes_the_name_away(just: Just) -> None:
    just("rename", OLD, "before")

    assert f"{OLD} has no name." in just("rename", "before", OLD).stdout
    assert not saved(OLD).name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (NEW, f"'{NEW}' is already a name of run {NEW}."),
        ("taken", f"'taken' is already a name of run {NEW}."),
        ("two words", "The name is 'two words'; expected 1 to 64 of the characters"),
    ],
)
def test_a_name_is_unique_and_of_the_characters_of_an_id(just: Just, name: str, words: str) -> None:
    just("rename", NEW, "taken")

    refused = just("rename", OLD, name)

    assert refused.returncode == 1
    assert words in refused.stderr


@stack
def test_a_run_without_a_record_keeps_its_name_in_prometheus(
    just: Just, prometheus: Prometheus
) -> None:
    run = feed(prometheus)

    assert just("rename", run, f"named-{run}", prometheus=prometheus.url).returncode == 0
    just("report", f"named-{run}", prometheus=prometheus.url)

    assert saved(run).name == f"named-{run}"
    selector = RunSelector(run, RETENTION)
    assert read_published(prometheus, selector, time.time())[run]["name"] == f"named-{run}"


# Deletion


def test_deletion_asks_first(just: Just, tmp_path: Path) -> None:
    kept = just("delete", OLD)

    assert "Interrupted" in kept.stderr or "Nothing was deleted." in kept.stdout
    assert (tmp_path / f"{OLD}.json").exists()


def test_a_saved_run_is_deleted_with_its_pages(just: Just, tmp_path: Path) -> None:
    page, part = tmp_path / f"{OLD}.html", tmp_path / f"{OLD}.part-60s-240s.html"
    other = tmp_path / f"{NEW}.part-60s-240s.html"
    for path in (page, part, other):
        path.touch()

    deleted = just("delete", OLD, "--yes")

    assert deleted.returncode == 0, deleted.stderr
    assert "Prometheus does not answer" in deleted.stdout
    assert not load_saved(OLD)
    assert [path.exists() for path in (page, part, other)] == [False, False, True]


@stack
def test_a_deleted_run_stays_away_although_prometheus_has_it(
    just: Just, prometheus: Prometheus
) -> None:
    run = feed(prometheus)
    just("report", run, prometheus=prometheus.url)
    just("baseline", run, prometheus=prometheus.url)

    deleted = just("delete", run, "--yes", prometheus=prometheus.url)

    assert "Its samples stay in Prometheus" in deleted.stdout
    assert not load_saved(run)
    assert run not in just("runs", "--json", prometheus=prometheus.url).stdout
    assert "There is no run" in just("report", run, prometheus=prometheus.url).stderr
    baselines = published.newest(published.BASELINE, RunList(RETENTION), "profile, journey")
    assert run not in prometheus.by_label(baselines, "testid", time.time())


@stack
def test_a_running_run_is_not_deleted(just: Just, prometheus: Prometheus) -> None:
    series = Feed(run_id("smoke"), time.time())
    series.requests("GET /owners", 100)
    series.marks("smoke", ended=False)
    series.send(prometheus)

    refused = just("delete", series.run, "--yes", prometheus=prometheus.url)

    assert refused.returncode == 1
    assert "is still running" in refused.stderr


# The baseline


def test_a_baseline_replaces_that_of_its_profile_and_journey(just: Just) -> None:
    for run in (OLD, BROWSED, NEW):
        assert just("baseline", run).returncode == 0

    listed = just("baseline").stdout
    assert f"load, book: {NEW}" in listed
    assert f"load, browse: {BROWSED}" in listed
    assert [saved(run).baseline for run in (OLD, NEW, BROWSED)] == [False, True, True]


def test_a_baseline_is_cleared(just: Just) -> None:
    just("baseline", OLD)
    just("baseline", BROWSED)

    ambiguous = just("baseline", "--clear")
    assert ambiguous.returncode == 1
    assert f"There are 2 baselines, {BROWSED}, {OLD}: name the one to clear." in ambiguous.stderr
    assert (
        f"{OLD} is no longer the baseline of load, book." in just("baseline", OLD, "--clear").stdout
    )
    assert just("baseline", "--clear").returncode == 0
    assert "There is no baseline" in just("baseline").stdout


def test_an_aborted_run_is_no_baseline(just: Just) -> None:
    make_record(run_id="20261124-130000-load", verdict="aborted").save()

    refused = just("baseline", "20261124-13")

    assert refused.returncode == 1
    assert "is aborted, so nothing can be compared with it." in refused.stderr


@stack
def test_pinning_saves_the_record(just: Just, prometheus: Prometheus) -> None:
    run = feed(prometheus)

    assert just("baseline", run, prometheus=prometheus.url).returncode == 0

    assert saved(run).baseline
    baselines = published.newest(published.BASELINE, RunList(RETENTION), "profile, journey")
    labels = [labels for labels, _ in prometheus.series(baselines, time.time())]
    assert {"profile": "smoke", "journey": "book"}.items() <= next(
        one.items() for one in labels if one.get("testid") == run
    )


# The page


def test_open_prints_the_address_of_the_newest_page(just: Just, tmp_path: Path) -> None:
    (tmp_path / f"{BROWSED}.html").touch()
    nowhere = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}

    assert just("open", **nowhere).stdout == f"{(tmp_path / BROWSED).as_uri()}.html\n"


def test_open_writes_a_page_that_is_missing(just: Just, tmp_path: Path) -> None:
    nowhere = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}

    assert just("open", OLD, **nowhere).returncode == 0
    assert OLD in (tmp_path / f"{OLD}.html").read_text()


def test_open_starts_the_browser(just: Just, tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    browser.chmod(0o755)

    just("open", OLD, BROWSER=str(browser))

    assert opened.read_text() == f"{(tmp_path / OLD).as_uri()}.html"
