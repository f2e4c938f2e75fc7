"""One run of several generators: each judges itself, the run is judged by the requests of all."""

from dataclasses import dataclass

import pytest

from lab.promql import load_run, run_list, run_range, thresholds
from lab.promql.load_run import VERDICT_CODES
from lab.promql.selectors import (
    CLOCK_OFFSET,
    ENDED,
    GENERATORS,
    PASSED,
    PLANNED,
    STARTED,
    THRESHOLD_LIMIT,
    THRESHOLD_PASSED,
    THRESHOLD_REACHED,
    Interval,
    RunList,
    RunSelector,
)
from lab.runs import k6
from tests.support.fake_clinic import FakeClinic
from tests.support.panels import queries
from tests.support.programs import NOWHERE, ask
from tests.support.promtool import AT, OTHER, RUN, Samples, Series, by, hold, mark, total

pytestmark = pytest.mark.stack

WINDOW = "30m"
SELECTED = RunSelector(RUN, WINDOW)
ALL_RUNS = RunList(WINDOW)
GET = "GET /owners"
P95 = f"http_req_duration{{name:{GET}}}"
FAILED = f"http_req_failed{{name:{GET}}}"
# The p95 of 1000 requests of which 940 took up to a second, and 60 one to two seconds.
MERGED_P95 = 1000 * 2 ** (10 / 60)


@dataclass(frozen=True)
class Generator:
    """A generator: its requests up to a second and above, those that failed, and its own values.

    `p95` and `share` are what its k6 compared, `errors` counts. It starts at 100 s and ends at
    160 s, or not at all.
    """

    name: str
    fast: int
    slow: int
    failed: int
    p95: float
    errors: int = 0
    started: float = 100
    ended: float | None = 160
    profile: str = "load"

    def series(self, p95_limit: float = 1500, divided: int = 1) -> Series:
        def own(metric: str, /, **labels: str) -> str:
            return mark(metric, RUN, self.profile, instance=self.name, **labels)

        def k6(metric: str, /, **labels: str) -> str:
            named = {"testid": RUN, "name": GET, "scenario": self.profile, **labels}
            inside = ",".join(f'{label}="{value}"' for label, value in named.items())
            return f'{metric}{{{inside},instance="{self.name}"}}'

        requests = self.fast + self.slow
        buckets = f"count:{requests} sum:{requests} buckets:[{self.fast} {self.slow}] offset:0"
        expected = {"status": "200", "expected_response": "true"}
        unexpected = {"status": "500", "expected_response": "false"}
        series = {
            own(STARTED, group="::setup"): f"{self.started} stale",
            own(PLANNED, group="::setup"): "60 stale",
            own(GENERATORS, group="::setup"): f"{divided} stale",
            k6("k6_http_req_duration_seconds"): f"{{{{schema:0 {buckets}}}}} stale",
            k6("k6_http_reqs_total", **expected): f"{requests - self.failed} stale",
            k6("k6_http_reqs_total", **unexpected): f"{self.failed} stale",
        }
        if self.ended is None:
            return series
        series[own(ENDED, group="::teardown")] = f"_ {self.ended} stale"
        results = [
            (P95, f"p(95)<{p95_limit:g}", self.p95, p95_limit),
            (FAILED, "rate<0.01", self.failed / requests, 0.01),
            ("errors", "count<10", self.errors, 10),
        ]
        passed = [reached < limit for _, _, reached, limit in results]
        for (metric, threshold, reached, limit), result in zip(results, passed, strict=True):
            labels = {"metric": metric, "threshold": threshold, "scenario": self.profile}
            series[own(THRESHOLD_PASSED, **labels)] = f"_ {int(result)} stale"
            series[own(THRESHOLD_REACHED, **labels)] = f"_ {reached} stale"
            series[own(THRESHOLD_LIMIT, **labels)] = f"_ {limit} stale"
        series[own(PASSED)] = f"_ {int(all(passed))} stale"
        return series


# The first has 900 requests and the second 100: together 6 of 1000 failed.
LARGE = Generator("a", fast=900, slow=0, failed=1, p95=966)
SMALL = Generator("b", fast=40, slow=60, failed=5, p95=1887)


def of_thresholds(p95: float, failed: float, errors: float, limit: float = 1500) -> Samples:
    values = ((P95, f"p(95)<{limit:g}", p95), (FAILED, "rate<0.01", failed))
    return {
        f'{{metric="{metric}", threshold="{threshold}"}}': value
        for metric, threshold, value in (*values, ("errors", "count<10", errors))
    }


def verdicts(verdict: str, reason: str = "", at: str = AT) -> list[tuple[str, Samples, str]]:
    """Ask for the verdict of the run, and of each run of the list."""
    code = VERDICT_CODES[verdict, reason]
    return [
        (load_run.verdict(SELECTED), total(code), at),
        (load_run.verdict(ALL_RUNS, "testid"), by("testid", {RUN: code}), at),
    ]


def test_a_run_passes_although_a_generator_failed_if_all_requests_together_pass() -> None:
    hold(
        {**LARGE.series(), **SMALL.series()},
        [
            *verdicts("passed"),
            (load_run.own_results(SELECTED), by("instance", {"a": 1, "b": 0}), AT),
            (load_run.thresholds(SELECTED), of_thresholds(1, 1, 1), AT),
            (load_run.thresholds_reached(SELECTED), of_thresholds(MERGED_P95, 0.006, 0), AT),
            (load_run.passed(SELECTED), total(1), AT),
            (f"sum({thresholds.failed(SELECTED)})", total(0), AT),
            (
                f"sum by (id) ({thresholds.share_of_limit(SELECTED)})",
                {
                    f'{{id="{P95} p(95)<1500"}}': MERGED_P95 / 1500,
                    f'{{id="{FAILED} rate<0.01"}}': 0.6,
                    '{id="errors count<10"}': 0,
                },
                AT,
            ),
            (load_run.generators(SELECTED), total(2), AT),
        ],
    )


def test_the_dashboard_has_what_each_generator_did() -> None:
    late = Generator("b", fast=0, slow=100, failed=5, p95=1887, started=103.5, ended=163)
    panel: dict[str, dict[str, float]] = {
        "Requests": {"a": 900, "b": 100},
        "p95": {"a": 2**-0.05, "b": 2**0.95},
        "Failed": {"a": 1 / 900, "b": 0.05},
        "Started": {"a": 0, "b": 3.5},
        "Ended": {"a": 60, "b": 63},
        "Alone": {"a": 1, "b": 0},
    }

    def asked(column: str) -> str:
        return queries()["Load test", "Generators", column].filled(testid=RUN, scenario=".+")

    hold(
        {**LARGE.series(), **late.series()},
        [(asked(column), by("instance", values), AT) for column, values in panel.items()],
    )


def test_the_dashboard_names_the_only_generator_of_a_run() -> None:
    only = Generator("", fast=900, slow=0, failed=1, p95=1000)
    asked = queries()["Load test", "Generators", "Requests"].filled(testid=RUN, scenario=".+")

    hold(only.series(), [(asked, by("instance", {"k6": 900}), AT)])


def test_a_run_fails_if_all_requests_together_fail() -> None:
    limit = 1100
    hold(
        {**LARGE.series(limit), **SMALL.series(limit)},
        [
            *verdicts("failed"),
            (load_run.thresholds(SELECTED), of_thresholds(0, 1, 1, limit), AT),
        ],
    )


def test_counts_of_generators_that_passed_add_up_to_a_failure() -> None:
    first = Generator("a", fast=100, slow=0, failed=0, p95=900, errors=6)
    second = Generator("b", fast=100, slow=0, failed=0, p95=900, errors=4)
    hold(
        {**first.series(), **second.series()},
        [
            *verdicts("failed"),
            (load_run.own_results(SELECTED), by("instance", {"a": 1, "b": 1}), AT),
            (load_run.thresholds_reached(SELECTED), of_thresholds(900, 0, 10), AT),
            (load_run.thresholds(SELECTED), of_thresholds(1, 1, 0), AT),
        ],
    )


def test_a_percentile_of_all_lies_between_those_of_the_generators() -> None:
    """The buckets are wide: their p95 would be 966 ms, which no generator reached."""
    first = Generator("a", fast=100, slow=0, failed=0, p95=700)
    second = Generator("b", fast=100, slow=0, failed=0, p95=720)
    limit = 750
    hold(
        {**first.series(limit), **second.series(limit)},
        [
            *verdicts("passed"),
            (load_run.thresholds_reached(SELECTED), of_thresholds(720, 0, 0, limit), AT),
        ],
    )


def test_one_generator_is_judged_by_what_its_k6_compared() -> None:
    limit = 800
    hold(
        Generator("a", fast=100, slow=0, failed=0, p95=799.5).series(limit),
        [
            *verdicts("passed"),
            (load_run.thresholds_reached(SELECTED), of_thresholds(799.5, 0, 0, limit), AT),
        ],
    )


def test_generators_of_other_profiles_have_thresholds_of_their_own() -> None:
    slow = Generator("b", fast=0, slow=100, failed=0, p95=1900, profile="stress")
    hold(
        {**LARGE.series(1000), **slow.series(2000)},
        [
            *verdicts("passed"),
            (
                load_run.thresholds_reached(SELECTED, 'metric=~"http_req_duration.+"'),
                {
                    f'{{metric="{P95}", threshold="p(95)<1000"}}': 966,
                    f'{{metric="{P95}", threshold="p(95)<2000"}}': 1900,
                },
                AT,
            ),
            (load_run.started(ALL_RUNS, "testid"), by("testid", {RUN: 100}), AT),
        ],
    )


@pytest.mark.parametrize(
    ("number", "count", "segment", "sequence"),
    [(1, 2, "0:1/2", "0,1/2,1"), (2, 2, "1/2:1", "0,1/2,1"), (3, 4, "2/4:3/4", "0,1/4,2/4,3/4,1")],
)
def test_each_generator_makes_its_segment_of_the_load(
    number: int, count: int, segment: str, sequence: str
) -> None:
    assert k6.segment_arguments(number, count) == [
        f"--execution-segment={segment}",
        f"--execution-segment-sequence={sequence}",
    ]


@pytest.mark.parametrize(
    ("statuses", "status"), [((0, 0), 0), ((0, 99), 99), ((99, 107, 105), 107), ((105, 0), 105)]
)
def test_a_generator_that_did_not_make_its_load_gives_its_status(
    statuses: tuple[int, ...], status: int
) -> None:
    assert k6.status_of_all(statuses) == status


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ((), {"K6_SUMMARY_EXPORT": "a.json"}, "K6_SUMMARY_EXPORT is set, which generators cannot"),
        ((), {"K6_OUT": "experimental-prometheus-rw,json=a"}, "K6_OUT has json=a, which generato"),
        ((), {"GENERATOR": "a"}, "GENERATOR is set, but --generators names them itself"),
        (("--without-prometheus",), {}, "Several generators are judged together by the Prometheus"),
    ],
)
def test_what_generators_cannot_share_is_refused_before_any_request(
    options: tuple[str, ...], settings: dict[str, str], words: str
) -> None:
    with FakeClinic() as clinic:
        command = ("run", "smoke", "--generators=2", *options)
        answer = ask(NOWHERE, NOWHERE, *command, BASE_URL=clinic.url, **settings)

    assert answer.returncode == 1
    assert words in answer.stderr
    assert not clinic.load


def pushes(generator: str, last: float, run: str = RUN) -> Series:
    """Name what a generator pushes every 5 s until a time."""
    return {f'k6_vus{{testid="{run}",instance="{generator}"}}': f"5x{last / 5:.0f} stale"}


def test_a_generator_that_died_makes_the_run_aborted() -> None:
    """Its requests count, and no other generator's percentile bounds those of all."""
    dead = Generator("b", fast=40, slow=60, failed=5, p95=0, ended=None)
    series = {**LARGE.series(), **dead.series(), **pushes("a", 60), **pushes("b", 30)}
    hold(
        series,
        [
            *verdicts("running", at="60s"),
            *verdicts("aborted", "killed"),
            (load_run.ended(SELECTED), {}, AT),
            (load_run.passed(SELECTED), total(1), AT),
            (load_run.thresholds_reached(SELECTED), of_thresholds(MERGED_P95, 0.006, 0), AT),
        ],
    )
    hold({**LARGE.series(1100), **dead.series(1100)}, verdicts("failed"))


def test_a_generator_that_never_started_makes_the_run_aborted() -> None:
    """A generator knows among how many the load was divided."""
    hold(
        {**LARGE.series(divided=3), **SMALL.series(divided=3), **pushes("a", 60)},
        [
            *verdicts("aborted", "killed"),
            (load_run.generators(SELECTED), total(3), AT),
            (load_run.ended(ALL_RUNS, "testid"), {}, AT),
        ],
    )


def test_a_run_goes_on_until_its_last_generator_ends() -> None:
    """The second one starts and ends 30 s later; its pushes until then fill the timeline."""
    one = {
        mark(STARTED, instance="a"): "0 stale",
        mark(PLANNED, instance="a"): "60 stale",
        mark(ENDED, instance="a"): "_x12 60 stale",
        **pushes("a", 60),
    }
    late = {
        mark(STARTED, instance="b"): "_x6 30 stale",
        mark(PLANNED, instance="b"): "_x6 60 stale",
        mark(ENDED, instance="b"): "_x18 90 stale",
        f'k6_vus{{testid="{RUN}",instance="b"}}': "_x6 5x12 stale",
    }
    interval = RunSelector(RUN, WINDOW, interval=Interval("5s"))
    users = load_run.within_run(load_run.virtual_users(interval), interval)
    hold(
        {**one, **late},
        [
            *verdicts("running", at="75s"),
            (load_run.ended(SELECTED), {}, "75s"),
            (load_run.ended(SELECTED), total(90), "95s"),
            (load_run.duration(ALL_RUNS, "testid"), by("testid", {RUN: 90}), AT),
            (load_run.missing_seconds(SELECTED), {}, AT),
            (users, total(5), "75s"),
            (users, total(5), "90s"),
            (users, {}, "100s"),
            (run_list.load_end(SELECTED), total(75 + run_list.LAST_EXPORT), "75s"),
        ],
    )


def test_a_generator_that_ended_early_makes_the_run_aborted_and_not_comparable() -> None:
    early = Generator("b", fast=100, slow=0, failed=0, p95=900, ended=120)
    other = {
        mark(STARTED, OTHER): "100 stale",
        mark(PLANNED, OTHER): "60 stale",
        mark(ENDED, OTHER): "_ 160 stale",
    }
    both = RunList(WINDOW, f'testid=~"{RUN}|{OTHER}"')
    hold(
        {**LARGE.series(), **early.series(), **other},
        [
            *[
                (load_run.verdict(SELECTED), total(VERDICT_CODES["aborted", "interrupted"]), AT),
                (load_run.missing_seconds(SELECTED), total(40), AT),
                (load_run.duration(SELECTED), total(60), AT),
            ],
            (load_run.mismatch(both), total(load_run.MISMATCH_CODES["aborted"]), AT),
        ],
    )


def test_the_clock_that_differs_most_is_said() -> None:
    series = {
        mark(CLOCK_OFFSET, instance="a"): "10 stale",
        mark(CLOCK_OFFSET, instance="b"): "-600 stale",
        mark(CLOCK_OFFSET, OTHER): "30 stale",
    }
    other = RunSelector(OTHER, WINDOW)
    hold(
        series,
        [
            (load_run.clock_offset(SELECTED), total(-600), AT),
            (load_run.clock_offset(other), total(30), AT),
        ],
    )


def test_a_dashboard_follows_a_run_until_its_last_generator_ends() -> None:
    running = {
        mark(STARTED, instance="a"): "1000 stale",
        mark(ENDED, instance="a"): "_x12 1060 stale",
        mark(STARTED, instance="b"): "1000 stale",
        f'k6_vus{{testid="{RUN}",instance="b"}}': "5x238",
    }
    address = f"{run_range.address(SELECTED)} and on () vector(1)"
    labels = f'testid="{RUN}", from="990000", to="now", refresh="5s"'
    hold(running, [(address, {f"{{{labels}}}": 0}, AT)])
