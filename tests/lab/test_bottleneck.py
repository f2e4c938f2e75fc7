"""Known series in, known shares and causes out."""

from collections.abc import Mapping
from typing import Any

import pytest

from lab.findings.names import PARTS
from lab.promql import bottleneck, request_time
from lab.promql.bottleneck import Cause
from lab.promql.request_time import Window
from lab.promql.selectors import ENDED, SPAN_CALLS, STARTED, RunSelector, Side
from lab.runs.record import PartName
from tests.support.panels import queries
from tests.support.promtool import (
    AT,
    RUN,
    TEMPO,
    by,
    client_seconds,
    histogram,
    hold,
    mark,
    span_metric,
    total,
)

pytestmark = pytest.mark.stack

# The load is from 6:00 to 8:00; the last exports take some seconds more.
LOAD = Window("127s", "360", "487")
SELECTED = RunSelector(RUN, "20m")
GET, POST = "GET /owners", "POST /owners"
REQUESTS = 1000
LOAD_SECONDS = 120
# The event loop is asked 40 times a second how late it is.
TICKS = 40 * LOAD_SECONDS
STATES = ("idle", "working", "run_queue", "other_threads", "stalled", "halted")
SIDES = "Server and database by operation"
LOOP = 'job="clinic",clinic_event_loop_state'


def grows(by: float) -> str:
    """Write a counter that grows during the load only."""
    step = by / 24
    # A last value that is rounded down would be a reset.
    return f"0x72 {step}+{step}x23 {by * (1 + 1e-9)}x200"


def seconds(count: int, total: float) -> str:
    return f"{histogram(0, 0, 0)}x72 {histogram(count, total, 0)}x220"


def world(  # noqa: PLR0913 - one argument for each signal
    *,
    client: float,
    server: float,
    late: float = 0.0,
    delay: Mapping[str, float] | None = None,
    working: float = 0.0,
    run_queue: float = 0.0,
    pool: float = 0.0,
    used: float = 0.0,
    pool_size: int = 10,
    waits: Mapping[str, float] | None = None,
    other_cpu: float | None = None,
    dropped: int = 0,
) -> dict[str, str]:
    """Make the series of a run of 1,000 requests, from mean seconds of a request."""
    delay, waits = delay or {}, waits or {}
    times = {"working": working * REQUESTS, "run_queue": run_queue * REQUESTS}
    series = {
        mark(STARTED): "_x72 360x24 stale",
        mark(ENDED): "_x96 480 stale",
        f'k6_vus{{testid="{RUN}"}}': "_x72 20x24 stale",
        f'k6_iterations_total{{testid="{RUN}",scenario="load"}}': "_x72 200x24 stale",
        client_seconds(POST): f"_x72 {histogram(REQUESTS, client * REQUESTS, 0)}x24 stale",
        f'k6_pause_lateness_seconds{{testid="{RUN}",scenario="load"}}': (
            f"_x72 {histogram(100, 100 * late, 0)}x24 stale"
        ),
        span_metric(TEMPO, POST): f"_x72 {histogram(REQUESTS, server * REQUESTS, 0)}x220",
        span_metric(
            SPAN_CALLS, POST, span_kind=Side.DATABASE, clinic_statement_id="0a"
        ): f"_x72 {REQUESTS}x220",
        'postgresql_samples_total{job="postgres-sampler"}': "1+100x300",
        'postgresql_statement_calls_total{job="postgres-sampler",statement_id="0a"}': grows(
            2 * REQUESTS
        ),
        'db_client_connection_max{job="clinic"}': f"{pool_size}x300",
        # In the window of 127 seconds.
        'clinic_event_loop_lag_seconds{job="clinic"}': seconds(40 * 127, 0.0),
        'db_client_connection_use_time_seconds{job="clinic"}': seconds(
            2 * REQUESTS, 2 * REQUESTS * used
        ),
    }
    if pool:
        waited = span_metric(
            TEMPO, POST, span_kind="SPAN_KIND_INTERNAL", span_name="connection wait"
        )
        series[waited] = f"_x72 {histogram(REQUESTS, pool * REQUESTS, 0)}x220"
    for state in STATES:
        # The mean delay is that of the ticks in the load.
        series[f'clinic_event_loop_delay_seconds_total{{{LOOP}="{state}"}}'] = grows(
            delay.get(state, 0.0) * TICKS
        )
        spent = times.get(state, 0.0)
        idle = "0+5x300" if state == "idle" else grows(spent)
        series[f'clinic_event_loop_time_seconds_total{{{LOOP}="{state}"}}'] = idle
    for wait in ("executing", "lock", "commit", "client"):
        name = f'job="postgres-sampler",statement_id="0a",statement="INSERT owner",wait="{wait}"'
        # Another run's calls of the statement take as long.
        series[f"postgresql_backend_seconds_total{{{name}}}"] = grows(
            waits.get(wait, 0.0) * REQUESTS * 2
        )
    if other_cpu is not None:
        other = f"_x72 0+{2 * other_cpu * LOAD_SECONDS / 24}x24 stale"
        series[f'machine_other_cpu_time_seconds_total{{testid="{RUN}"}}'] = other
        series[f'machine_cpus{{testid="{RUN}"}}'] = "_x72 2x24 stale"
    if dropped:
        name = f'k6_dropped_iterations_total{{testid="{RUN}",scenario="load"}}'
        series[name] = f"_x72 {dropped}x24 stale"
    return series


QUIET: dict[str, Any] = {
    "client": 0.006,
    "server": 0.004,
    "late": 0.001,
    "delay": {"working": 0.0003, "run_queue": 0.0002},
    "working": 0.0012,
    "used": 0.0008,
    "waits": {"executing": 0.0001, "commit": 0.0004},
}


def panel(title: str, series: str) -> str:
    query = queries()["Load test", title, series]
    return query.filled(
        testid=RUN,
        scenario=".+",
        load_length="127",
        load_start=LOAD.start,
        load_end=LOAD.end,
    )


def causes_of(series: dict[str, str], expected: Mapping[Cause, float]) -> None:
    samples = by("cause", {str(cause): value for cause, value in expected.items()})
    hold(series, [(f"round({panel('Bottleneck', 'Share of time')}, 0.01)", samples, AT)])


# Milliseconds of the mean request in the quiet run.
QUIET_PARTS = {
    "generator": 1.0,
    "network": 0.5,
    "api_working": 1.2,
    # 4 ms less the CPU and PostgreSQL, and half a millisecond before the server's span.
    "api_event_loop": 2.8,
    "api_pool": 0.0,
    "postgresql_executing": 0.1,
    "postgresql_locks": 0.0,
    "postgresql_commit": 0.4,
    "unknown": 0.0,
}


def test_parts_add_up_to_the_clients_time() -> None:
    union = request_time.union(request_time.parts(SELECTED, LOAD))

    assert sum(QUIET_PARTS.values()) == pytest.approx(1000 * QUIET["client"])
    hold(world(**QUIET), [(f"round(1000 * ({union}), 0.1)", by("part", QUIET_PARTS), AT)])


@pytest.mark.parametrize("part", PARTS)
def test_the_dashboard_shows_the_shares_of_an_operation(part: PartName) -> None:
    query = panel("Where the time goes by operation", PARTS[part][0])
    share = round(QUIET_PARTS[part] / QUIET["client"] / 1000, 2)

    mean = panel("Where the time goes by operation", "Client, mean")
    hold(
        world(**QUIET),
        [
            (f"round({query}, 0.01)", by("operation", {POST: share}), AT),
            (f"round({mean}, 0.0001)", by("operation", {POST: QUIET["client"]}), AT),
        ],
    )


def test_the_dashboard_shows_what_postgresql_measured() -> None:
    series = world(**QUIET | {"waits": {"lock": 0.002, "commit": 0.004}})
    executed = 'postgresql_statement_seconds_total{job="postgres-sampler",statement_id="0a"}'
    series[executed] = grows(2 * REQUESTS * 0.0005)

    hold(
        series,
        [
            (
                f"round({panel(SIDES, f'{column}, mean')}, 0.0001)",
                by("operation", {POST: value}),
                AT,
            )
            for column, value in (("Execution", 0.0005), ("Lock wait", 0.002), ("Commit", 0.004))
        ],
    )


def test_a_quiet_run_has_no_cause() -> None:
    causes_of(world(**QUIET), {})


def test_without_postgresqls_own_metrics_the_servers_time_is_unknown() -> None:
    """Nothing is guessed: PostgreSQL's time and the wait for the event loop are not known."""
    series = {
        name: values for name, values in world(**QUIET).items() if "postgres-sampler" not in name
    }
    union = request_time.union(request_time.parts(SELECTED, LOAD))
    known = {part: QUIET_PARTS[part] for part in ("generator", "network", "api_working")}

    expected = {**known, "api_pool": 0.0, "unknown": 3.3}
    hold(series, [(f"round(1000 * ({union}), 0.1)", by("part", expected), AT)])


LATE = {"working": 0.0002, "run_queue": 0.0002}
EXECUTING = {"executing": 0.02, "commit": 0.0004}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"client": 0.046}, {Cause.NETWORK: 0.88}),
        ({"client": 0.016, "late": 0.011}, {Cause.GENERATOR_STARVED: 0.69}),
        (
            {"client": 0.026, "server": 0.024, "waits": EXECUTING},
            {Cause.POSTGRESQL_EXECUTION: 0.77},
        ),
        (
            {"client": 0.046, "server": 0.044, "waits": {"lock": 0.038}},
            {Cause.POSTGRESQL_LOCKS: 0.83},
        ),
        (
            {"client": 0.026, "server": 0.024, "waits": {"commit": 0.02}},
            {Cause.POSTGRESQL_COMMIT: 0.77},
        ),
        (
            {"client": 0.04, "server": 0.03, "delay": {"working": 0.008, "run_queue": 0.002}},
            {Cause.API_CPU: 0.96},
        ),
        ({"client": 0.04, "server": 0.03, "delay": {"stalled": 0.01}}, {Cause.API_BLOCKED: 0.93}),
        ({"client": 0.04, "server": 0.03, "delay": {"halted": 0.01}}, {Cause.API_HALTED: 0.93}),
        # Two at once: the larger is first on the dashboard.
        (
            {"client": 0.066, "server": 0.024, "waits": EXECUTING},
            {Cause.NETWORK: 0.61, Cause.POSTGRESQL_EXECUTION: 0.3},
        ),
    ],
    ids=[
        *("network", "generator", "execution", "locks", "commit", "CPU", "blocked", "halted"),
        "two",
    ],
)
def test_a_cause_is_named_with_its_share(
    changes: dict[str, Any], expected: Mapping[Cause, float]
) -> None:
    causes_of(world(**QUIET | changes), expected)


LAG = "clinic_event_loop_lag_seconds"
STATE_TIME = "clinic_event_loop_time_seconds_total"


def idle_process(pool_size: int = 10) -> dict[str, str]:
    """Make the series of a second process of the API, which has no requests."""
    series = {
        'db_client_connection_max{job="clinic",instance="idle"}': f"{pool_size}x300",
        f'db_client_connection_count{{job="clinic",instance="idle",{USED}}}': "0x300",
        f'{LAG}{{job="clinic",instance="idle"}}': seconds(40 * 127, 0.0),
    }
    for state in STATES:
        name = f'instance="idle",{LOOP}="{state}"'
        series[f"clinic_event_loop_delay_seconds_total{{{name}}}"] = "0x300"
        series[f"{STATE_TIME}{{{name}}}"] = "0+5x300" if state == "idle" else "0x300"
    return series


USED = 'db_client_connection_state="used"'


@pytest.mark.parametrize(
    ("delay", "cause", "share"),
    [
        ({"working": 0.004, "run_queue": 0.002}, Cause.API_CPU, 0.89),
        ({"stalled": 0.003}, Cause.API_BLOCKED, 0.78),
        ({"halted": 0.003}, Cause.API_HALTED, 0.78),
    ],
    ids=["CPU", "blocked", "halted"],
)
def test_an_idle_process_does_not_hide_a_late_one(
    delay: dict[str, float], cause: Cause, share: float
) -> None:
    """The mean of both processes is below what makes an event loop a cause."""
    series = world(**QUIET | {"client": 0.04, "server": 0.03, "delay": delay})

    causes_of(series, {cause: share})
    causes_of(series | idle_process(), {cause: share})


def test_the_parts_of_two_processes_are_those_of_their_requests() -> None:
    union = request_time.union(request_time.parts(SELECTED, LOAD))
    asked = f"round(1000 * ({union}), 0.1)"

    hold(world(**QUIET) | idle_process(), [(asked, by("part", QUIET_PARTS), AT)])


def test_of_two_processes_the_worst_shows_in_the_timeline() -> None:
    series = world(**QUIET | {"working": 0.06}) | idle_process()
    series[f'db_client_connection_count{{job="clinic",{USED}}}'] = "7x300"
    series[f'{LAG}{{job="clinic"}}'] = f"{histogram(0, 0, 0)}x72 {histogram(100, 90, 0)}x220"
    series[f'{STATE_TIME}{{{LOOP}="idle"}}'] = grows(LOAD_SECONDS - 60)
    working = (
        f"({request_time.event_loop_time(SELECTED, LOAD)})"
        f' and on ({request_time.STATE}) label_replace(vector(1), "{request_time.STATE}",'
        ' "working", "", "")'
    )

    hold(
        series,
        [
            (f"round({query}, 0.01)", total(value), AT)
            for query, value in (
                (request_time.event_loop_busy(LOAD), 0.5),
                (request_time.event_loop_lag(0.5, LOAD), 0.71),
                (request_time.connections_used(LOAD), 7),
                (request_time.connections_allowed(LOAD), 10),
                (f"sum({working})", 0.5),
            )
        ],
    )


def test_a_pool_is_small_if_the_pools_of_all_processes_are() -> None:
    changes = {
        "client": 0.125,
        "server": 0.123,
        "waits": EXECUTING,
        "pool": 0.1,
        "used": 0.022,
        "pool_size": 2,
        "delay": {"working": 0.006},
        "other_cpu": 0.0,
    }
    alone = world(**QUIET | changes)

    causes_of(alone, {Cause.POOL: 0.73, Cause.POSTGRESQL_EXECUTION: 0.16})
    causes_of(alone | idle_process(2), {Cause.POSTGRESQL_EXECUTION: 0.89})


@pytest.mark.parametrize(
    ("pool_size", "used", "expected"),
    [
        # Two CPUs, and fewer connections than that: all are busy in PostgreSQL.
        (1, 0.022, {Cause.POOL: 0.73, Cause.POSTGRESQL_EXECUTION: 0.16}),
        (10, 0.022, {Cause.POSTGRESQL_EXECUTION: 0.89}),
        # The connections were idle in PostgreSQL nine tenths of their time: the loop held them.
        (1, 0.204, {Cause.API_CPU: 0.75, Cause.POSTGRESQL_EXECUTION: 0.16}),
    ],
    ids=["small pool", "slow statement", "busy event loop"],
)
def test_waiting_for_the_pool_is_due_to_what_its_connections_did(
    pool_size: int, used: float, expected: Mapping[Cause, float]
) -> None:
    changes = {
        "client": 0.125,
        "server": 0.123,
        "waits": EXECUTING,
        "pool": 0.1,
        "pool_size": pool_size,
        "used": used,
        "delay": {"working": 0.006},
        "other_cpu": 0.0,
    }
    causes_of(world(**QUIET | changes), expected)


def test_a_starved_generator_comes_first_whatever_its_share() -> None:
    starved = {"client": 0.1, "server": 0.08, "late": 0.008, "delay": {"working": 0.02}}
    causes_of(world(**QUIET | starved), {Cause.API_CPU: 0.94, Cause.GENERATOR_STARVED: 0.06})

    assert bottleneck.rank({"api_cpu": 0.93, "network": 0.95, "generator_starved": 0.06}) == [
        *("generator_starved", "network", "api_cpu")
    ]


def test_short_requests_do_not_hide_a_starved_generator() -> None:
    """Two milliseconds outside the server bound their part of a lateness of 12 ms."""
    causes_of(world(**QUIET | {"late": 0.012}), {Cause.GENERATOR_STARVED: 0.32})


def test_connections_that_a_busy_event_loop_holds_are_not_postgresqls() -> None:
    """The event loop is 4 ms late, which is too little to accuse it."""
    changes = {
        "client": 0.125,
        "server": 0.123,
        "waits": EXECUTING,
        "pool": 0.1,
        "pool_size": 1,
        "used": 0.204,
        "delay": {"working": 0.004},
    }
    causes_of(world(**QUIET | changes), {Cause.POSTGRESQL_EXECUTION: 0.16})


def test_a_statement_that_dominates_a_rare_operation_is_named() -> None:
    """It takes 10 of the 16 ms of the operation, and 14 % of the time of all requests."""
    slow = {"client": 0.016, "server": 0.014, "waits": {"executing": 0.01, "commit": 0.0004}}
    others = {
        client_seconds(GET): f"_x72 {histogram(9 * REQUESTS, 54, 0)}x24 stale",
        span_metric(TEMPO, GET): f"_x72 {histogram(9 * REQUESTS, 36, 0)}x220",
    }

    causes_of(world(**QUIET | slow) | others, {Cause.POSTGRESQL_EXECUTION: 0.14})


def test_a_run_that_other_programs_disturbed_accuses_the_machine_alone() -> None:
    disturbed = {
        "client": 0.02,
        "server": 0.01,
        "late": 0.004,
        "delay": {"working": 0.0002, "run_queue": 0.002},
        "run_queue": 0.001,
        "waits": {"executing": 0.003, "commit": 0.0004},
    }

    causes_of(world(**QUIET | disturbed, other_cpu=0.6), {Cause.MACHINE: 0.92})
    # Without them the stack itself needs more CPU time than there is.
    late = {"delay": {"working": 0.002, "run_queue": 0.004}}
    causes_of(world(**QUIET | disturbed | late, other_cpu=0.1), {Cause.API_CPU: 0.63})
    # Where others are not known, a long wait for a CPU accuses them.
    causes_of(world(**QUIET | disturbed | {"run_queue": 0.002}), {Cause.MACHINE: 0.92})


def test_a_generator_that_drops_iterations_of_a_quiet_api_is_too_small() -> None:
    saturated = {"client": 0.04, "server": 0.03, "delay": {"working": 0.01}}

    causes_of(world(**QUIET, dropped=300), {Cause.GENERATOR_TOO_SMALL: 0.6})
    causes_of(world(**QUIET | saturated, dropped=300), {Cause.API_CPU: 0.96})
