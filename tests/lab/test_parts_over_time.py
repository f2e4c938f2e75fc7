"""A constant load of constant parts in, the same parts in every interval of the run out."""

import math
from collections.abc import Callable, Iterable, Mapping

import pytest

from lab.findings.names import PARTS
from lab.promql import request_time
from lab.promql.selectors import ENDED, SPAN_CALLS, STARTED, Side
from lab.runs.record import PartName
from tests.support.panels import VARIABLES, queries
from tests.support.promtool import (
    AT,
    RUN,
    TEMPO,
    Asked,
    client_seconds,
    hold,
    mark,
    requests,
    span_metric,
    stated,
    total,
)

pytestmark = pytest.mark.stack

POST = "POST /owners"
REQUESTS_PER_SECOND, TICKS_PER_SECOND = 20, 40
EXPORTS = [2.5 + 5 * number for number in range(60)]
SCRAPES = [1 + 5 * number for number in range(60)]
# Milliseconds of each request: what k6 and the responses state, and the parts that follow.
CLIENT, SERVER, DATABASE, ARRIVAL, LOOP_DELAY = 10.0, 8.0, 3.0, 0.4, 0.6
CONSTANT: dict[PartName, float] = {
    "generator": 1.0,
    "network": 0.6,
    "api_working": 1.2,
    "api_event_loop": 5.5,
    "api_pool": 0.2,
    "postgresql_executing": 0.5,
    "postgresql_locks": 0.3,
    "postgresql_commit": 0.7,
    "unknown": 0.0,
}
WAITS: dict[PartName, str] = {
    "postgresql_executing": "executing",
    "postgresql_locks": "lock",
    "postgresql_commit": "commit",
}


def sampled(times: Iterable[float], value: Callable[[float], str], *, ends: bool = False) -> str:
    """Write the samples of a series at these times, half a second apart."""
    samples, last = [], -1
    for time in times:
        index = round(2 * time)
        samples += [f"_x{index - last - 1}"] if index > last + 1 else []
        samples.append(value(time))
        last = index
    return " ".join([*samples, *(["stale"] if ends else [])]) or "_"


def histogram(count: float, milliseconds: float) -> str:
    """Write observations with this mean; their buckets do not matter here."""
    seconds = count * milliseconds / 1000
    return f"{{{{schema:0 count:{count} sum:{seconds:.9f} buckets:[{count}] offset:0}}}}"


def world(
    started: float, seconds: float, *, pushed: float = math.inf, reported: float = math.inf
) -> dict[str, str]:
    """Make the series of a run of a constant load: what k6 has pushed and services reported."""
    ended = started + seconds
    # k6 pushes half a second before each interval of the run ends, and at the run's end.
    regular = [started + 4.5 + 5 * number for number in range(int((seconds + 0.4) / 5))]
    pushes = [at for at in [*regular, ended] if at <= min(ended, pushed)]
    exports, scrapes = ([at for at in times if at <= reported] for times in (EXPORTS, SCRAPES))
    over = [ended] if ended <= pushed else []
    stored = [ended + 12, ended + 60]  # every span, long after the run

    def served(time: float) -> float:
        return REQUESTS_PER_SECOND * (min(max(time, started), ended) - started)

    def k6(milliseconds: float) -> str:
        return sampled(pushes, lambda at: histogram(served(at), milliseconds), ends=True)

    def api(milliseconds: float) -> str:
        return sampled(exports, lambda at: histogram(served(at), milliseconds))

    def counter(times: list[float], milliseconds: float) -> str:
        # A last value that is rounded down would be a reset.
        seconds = milliseconds / 1000
        return sampled(times, lambda at: f"{served(at) * seconds * (1 + 1e-12 * at):.15f}")

    state = 'job="clinic",clinic_event_loop_state="working"'
    delay = LOOP_DELAY * TICKS_PER_SECOND / REQUESTS_PER_SECOND
    sampler = 'job="postgres-sampler",statement_id="0a"'
    backend = f'postgresql_backend_seconds_total{{{sampler},statement="INSERT owner"'
    stored_count = sampled(stored, lambda _: str(served(ended)))
    return {
        mark(STARTED): sampled(pushes[:1], lambda _: str(started), ends=True),
        mark(ENDED): sampled(over, lambda _: str(ended), ends=True),
        f'k6_vus{{testid="{RUN}"}}': sampled(pushes, lambda _: "5", ends=True),
        requests(POST): sampled(pushes, lambda at: str(served(at)), ends=True),
        client_seconds(POST): k6(CLIENT),
        stated(Side.SERVER, POST): k6(SERVER),
        stated(Side.DATABASE, POST): k6(DATABASE),
        f'k6_pause_lateness_seconds{{testid="{RUN}",scenario="load"}}': k6(CONSTANT["generator"]),
        'http_server_request_duration_seconds{job="clinic",user_agent_synthetic_type="test"}': api(
            SERVER
        ),
        'clinic_request_wait_seconds{job="clinic"}': api(ARRIVAL),
        'db_client_connection_wait_time_seconds{job="clinic"}': api(CONSTANT["api_pool"]),
        'clinic_event_loop_lag_seconds{job="clinic"}': sampled(
            exports, lambda at: histogram(at * TICKS_PER_SECOND, 0)
        ),
        f"clinic_event_loop_delay_seconds_total{{{state}}}": counter(exports, delay),
        f"clinic_event_loop_time_seconds_total{{{state}}}": counter(
            exports, CONSTANT["api_working"]
        ),
        'postgresql_samples_total{job="postgres-sampler"}': sampled(scrapes, str),
        f"postgresql_statement_calls_total{{{sampler}}}": counter(scrapes, 1000),
        **{
            f'{backend},wait="{wait}"}}': counter(scrapes, CONSTANT[part])
            for part, wait in WAITS.items()
        },
        span_metric(SPAN_CALLS, POST): stored_count,
        span_metric(
            SPAN_CALLS, POST, span_kind=Side.DATABASE, clinic_statement_id="0a"
        ): stored_count,
        span_metric(TEMPO, POST): sampled(
            stored, lambda _: histogram(served(ended), 1000 * SERVER)
        ),
    }


def part_at(part: PartName, at: float, expected: Mapping[str, float], shift: float) -> Asked:
    query = queries()["Load test", "Where the time goes", PARTS[part][0]]
    variables = {
        "step": "5",
        "shift": f"{1000 * shift:.0f}",
        "before": f"{5000 - 1000 * shift:.0f}",
        "exports_before": "0",
    }
    # Late spans count until the end of the time range.
    text = query.filled(testid=RUN, scenario=".+", **variables).replace("end()", "1200")
    return f"round(1000 * ({text}), 0.01)", expected, f"{at:.0f}s"


STATE_TIME = 'clinic_event_loop_time_seconds_total{job="clinic",clinic_event_loop_state="working"'


@pytest.mark.parametrize(
    ("second", "last"),
    [
        ("_ 1x23", 120),  # both up to the end
        ("_ 1x22", 115),  # its last report has not arrived yet
        ("_ 1x10", 120),  # it has ended
        ("_x30", 120),
    ],
)
def test_the_last_reports_of_all_running_processes_are_awaited(second: str, last: float) -> None:
    series = {
        f'{STATE_TIME},instance="a"}}': "1x24",
        f'{STATE_TIME},instance="b"}}': second,
        'postgresql_samples_total{job="postgres-sampler"}': "1x26",
    }

    hold(series, [(request_time.last_samples(), total(last), "130s")])


@pytest.mark.parametrize(
    ("seconds", "shift"), [(20, 0), (20, 2.5), (20, 4), (18, 0.5), (18, 4.5), (22, 2)]
)
def test_constant_parts_are_constant_from_the_first_interval_to_the_last(
    seconds: float, shift: float
) -> None:
    assert sum(CONSTANT.values()) == pytest.approx(CLIENT)

    hold(
        world(60 + shift, seconds),
        [
            part_at(part, at, {"{}": value} if 65 <= at <= 80 else {}, shift)
            for part, value in CONSTANT.items()
            for at in (55, 60, 65, 70, 75, 80, 85, 90, 120)
        ],
        interval="500ms",
    )


def test_an_interval_is_drawn_once_every_source_has_reported() -> None:
    """k6 has pushed at 70.5 s. The API's report of 72.5 s, for the same interval, comes later."""
    before, after = (world(61, 20, pushed=70.5, reported=until) for until in (70, 73))
    names: tuple[PartName, ...] = ("api_working", "unknown")

    for part in names:
        complete = {"{}": CONSTANT[part]}
        hold(before, [part_at(part, 70, {}, 1), part_at(part, 65, complete, 1)], "500ms")
        hold(after, [part_at(part, 70, complete, 1), part_at(part, 75, {}, 1)], "500ms")


@pytest.mark.parametrize(
    ("started", "seconds", "expected"),
    [
        (62.25, 20, (5, 2250, 2750, 0)),
        (60, 600, (5, 0, 5000, 0)),
        (61, 601, (10, 1000, 9000, 5000)),
        (0, 200_000, (900, 0, 900_000, 895_000)),
    ],
)
def test_a_dashboard_divides_a_run_as_its_record_does(
    started: float, seconds: float, expected: tuple[float, ...]
) -> None:
    series = {mark(STARTED): f"{started} stale", mark(ENDED): f"{started + seconds} stale"}
    values = dict(zip(("step", "shift", "before", "exports_before"), expected, strict=True))
    filled = {name: str(value) for name, value in values.items()}

    def variable(name: str) -> str:
        return queries()["Load test", VARIABLES, name].filled(testid=RUN, scenario=".+", **filled)

    hold(series, [(variable(name), total(value), AT) for name, value in values.items()])
