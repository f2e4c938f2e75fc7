"""Known series in, known numbers out: what dashboards list of runs, and when these took place."""

import pytest

from lab.promql.published import BASELINE, DELETED, INFO
from lab.promql.selectors import PLANNED, STARTED
from tests.lab.test_dashboard_numbers import CHOSEN, run_of_a_minute
from tests.support.panels import ANNOTATIONS, VARIABLES, Address, queries
from tests.support.promtool import (
    AT,
    OTHER,
    RUN,
    Asked,
    Samples,
    by,
    client_seconds,
    histogram,
    hold,
    mark,
    quantile,
    requests,
    total,
)

pytestmark = pytest.mark.stack

SCRIPT = "of-another-script"
GET = "GET /owners"
VUS = f'k6_vus{{testid="{RUN}"}}'
ADDRESS = 'from="90000",to="190000",refresh="off"'


def question(address: Address, expected: Samples, at: str = AT, **variables: str) -> Asked:
    return queries()[address].filled(**(CHOSEN | variables)), expected, at


def listed(run: str, profile: str, started: float = 100_000, **info: str) -> Samples:
    """Expect a run in a list, with the labels that were published."""
    labels = {"testid": run, "profile": profile, "journey": "book"} | info
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {f"{{{inside},{ADDRESS}}}": started}


def info(run: str, **labels: str) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in ({"testid": run} | labels).items())
    return f"{INFO}{{{inside}}}"


STARTS: Address = ("Runs", "Runs", "Started")


def test_a_run_is_listed_with_what_was_published_last() -> None:
    series = {
        **run_of_a_minute(RUN),
        info(RUN, name="before", note=""): "5 stale",
        info(RUN, name="with index", note="12 rows", commit="abc"): "_ 10 stale",
    }
    named = listed(RUN, "load", name="with index", note="12 rows", commit="abc")

    hold(series, [question(STARTS, named), question(("Home", "Runs", "Started"), named)])


def test_what_was_published_after_the_time_range_is_seen() -> None:
    """A report names the run, and sets a baseline, ten minutes after the end of the range."""
    late = "_x40 1000 stale"
    series = {
        **run_of_a_minute(RUN),
        **run_of_a_minute(OTHER),
        info(RUN, name="before"): "5 stale",
        info(RUN, name="after"): late,
        f'{BASELINE}{{testid="{RUN}",profile="load",journey="book"}}': "5 stale",
        f'{BASELINE}{{testid="{OTHER}",profile="load",journey="book"}}': late,
        client_seconds(GET): f"{histogram(120, 90, 0)} stale",
        client_seconds(GET, OTHER): f"{histogram(60, 90, 1)} stale",
    }
    renamed = {**listed(RUN, "load", name="after"), **listed(OTHER, "load")}
    baseline = quantile(0.95, 1)
    address = ("Runs", "p95 of each run", "baseline")

    hold(
        series,
        [
            question(STARTS, renamed, "60s"),
            question(address, by("testid", {RUN: baseline, OTHER: baseline}), "60s"),
        ],
    )
    series[f'{DELETED}{{testid="{OTHER}"}}'] = late
    hold(series, [question(STARTS, listed(RUN, "load", name="after"), "60s")])


def test_runs_are_chosen_by_profile_journey_and_part_of_a_tag() -> None:
    series = {
        **run_of_a_minute(RUN),
        **run_of_a_minute(OTHER, profile="stress"),
        info(OTHER, tags="env=qa, owner=me"): "5 stale",
    }
    this, other = listed(RUN, "load"), listed(OTHER, "stress", tags="env=qa, owner=me")
    hold(
        series,
        [
            question(STARTS, {**this, **other}),
            question(STARTS, this, profile="load"),
            question(STARTS, {**this, **other}, profile="load|stress"),
            question(STARTS, {}, journey="mixed"),
            question(STARTS, other, tag="env=qa"),
            question(STARTS, other, tag="owner"),
            question(STARTS, {}, tag="env=prod"),
        ],
    )


def test_a_running_run_is_opened_up_to_now() -> None:
    """Whether runs are chosen by profile or not."""
    series = {mark(STARTED): "100x4", mark(PLANNED): "60x4", VUS: "1x4"}
    running = 'profile="load",journey="book",from="90000",to="now",refresh="5s"'
    expected = {f'{{testid="{RUN}",{running}}}': 100_000}

    hold(series, [question(STARTS, expected, "20s", profile=it) for it in (".*", "load")])


def test_a_deleted_run_is_not_listed() -> None:
    series = {**run_of_a_minute(RUN), f'{DELETED}{{testid="{RUN}"}}': "5 stale"}

    hold(series, [question(STARTS, {}), question(("Runs", VARIABLES, "testid"), {})])


def test_a_run_of_another_script_is_listed_without_a_start() -> None:
    series = {requests(GET, SCRIPT): "10 20 stale", f'k6_vus{{testid="{SCRIPT}"}}': "1x3 stale"}
    choice = f'testid="{SCRIPT}",run="{SCRIPT} · another script"'
    # It pushed from 0 to 15 s.
    there = f'testid="{SCRIPT}",from="-10000",to="45000",refresh="off"'
    hold(
        series,
        [
            question(STARTS, by("testid", {SCRIPT: 0})),
            question(STARTS, {}, profile="load"),
            question(("Runs", VARIABLES, "testid"), {f"{{{choice}}}": 0}),
            question(("Load test", VARIABLES, "from"), {f"{{{there}}}": 0}, testid=SCRIPT),
        ],
    )


@pytest.mark.parametrize(
    ("first", "last", "covered"),
    [("99000", "161000", 1), ("101000", "161000", 0), ("99000", "150000", 0), ("1", "2", 0)],
)
def test_whether_the_time_range_has_the_whole_run(first: str, last: str, covered: int) -> None:
    """It is from 100 s to 160 s; Grafana asks at the end of the range, be it before the run."""
    series = {name: f"_x40 {value} stale" for name, value in run_of_a_minute(RUN).items()}
    address = ("Load test", "Time range", "")
    chosen = {"__from": first, "__to": last}

    hold(series, [question(address, total(covered), at, **chosen) for at in ("10s", "20m")])
    hold({}, [question(address, {}, **chosen)])


def test_the_time_range_of_a_killed_run_ends_where_it_was_planned_to() -> None:
    series = {mark(STARTED): "100 stale", mark(PLANNED): "60 stale", VUS: "1 1 stale"}

    hold(
        series,
        [question(("Load test", VARIABLES, "to"), {f'{{testid="{RUN}",{ADDRESS}}}': 0})],
    )


def test_a_run_is_a_band_from_its_start_to_its_end() -> None:
    """Its values are the present, kept between its start at 100 s and its end at 160 s."""
    address = ("Load test", ANNOTATIONS, "Runs")
    elsewhere = ("Clinic API", ANNOTATIONS, "Runs")
    series = {**run_of_a_minute(RUN), **run_of_a_minute(OTHER, ended=130)}
    band = {"__from": "50000", "__to": "300000"}
    hold(
        series,
        [
            question(address, by("testid", {RUN: 100_000}), "60s", **band),
            question(address, by("testid", {RUN: 120_000}), "120s", **band),
            question(address, by("testid", {RUN: 160_000}), "290s", **band),
            question(elsewhere, by("testid", {RUN: 140_000, OTHER: 130_000}), "140s", **band),
            question(
                elsewhere, by("testid", {RUN: 160_000}), "290s", **band | {"__from": "131000"}
            ),
            question(elsewhere, {}, "290s", **band | {"__to": "99000"}),
        ],
    )


def test_the_band_of_a_running_run_ends_now() -> None:
    series = {mark(STARTED): "100x100", mark(PLANNED): "60x100"}
    address = ("Load test", ANNOTATIONS, "Runs")

    hold(series, [question(address, by("testid", {RUN: 140_000}), "140s", __to="300000")])


def test_a_trend_has_the_finished_runs_and_the_baseline() -> None:
    """The other run, which ended early, is left out; a minute's 120 requests are 2 a second."""
    interrupted = "20261123-053251-load"
    series = {
        **run_of_a_minute(RUN),
        **run_of_a_minute(OTHER),
        **run_of_a_minute(interrupted, ended=120),
        requests(GET): "117 stale",
        requests(GET, failed=True, status=500): "3 stale",
        requests(GET, OTHER): "60 stale",
        client_seconds(GET): f"{histogram(120, 90, 0)} stale",
        client_seconds(GET, OTHER): f"{histogram(60, 90, 1)} stale",
        f'{BASELINE}{{testid="{RUN}",profile="load",journey="book"}}': "5 stale",
        f'{BASELINE}{{testid="{OTHER}",profile="load",journey="book"}}': "_ 10 stale",
    }
    finished = {**listed(RUN, "load"), **listed(OTHER, "load")}
    values = {
        "p95": (quantile(0.95, 0), quantile(0.95, 1)),
        "Throughput": (120 / 60, 60 / 60),
        "Failed share": (3 / 120, 0),
    }
    for name, (this, other) in values.items():
        panel = f"{name} of each run"
        hold(
            series,
            [
                question(("Runs", panel, "Started"), finished),
                question(("Runs", panel, "each run"), by("testid", {RUN: this, OTHER: other})),
                question(("Runs", panel, "baseline"), by("testid", {RUN: other, OTHER: other})),
                question(("Runs", panel, "baseline"), {}, profile="stress"),
            ],
        )
