"""Known series in, known numbers out: what the record has beyond counts and percentiles."""

import math

import pytest

from lab.promql import client, errors, resources, run_postgresql
from lab.promql.client import Phase
from lab.promql.request_time import Window
from lab.promql.resources import Resource
from lab.promql.selectors import ENDED, SPAN_CALLS, STARTED, Interval, RunSelector, Side
from tests.support.promtool import (
    AT,
    RUN,
    Samples,
    Series,
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
LOAD_SECONDS = 120
SELECTED = RunSelector(RUN, "30m")
GET, POST = "GET /owners", "POST /owners"
BEFORE = "_x72"


def of_k6(metric: str, **labels: str) -> str:
    named = {"testid": RUN, "scenario": "load"} | labels
    inside = ",".join(f'{name}="{value}"' for name, value in named.items())
    return f"{metric}{{{inside}}}"


def grows(amount: float) -> str:
    """Write a counter that grows during the load only."""
    step = amount / 24
    return f"0x72 {step}+{step}x23 {amount * (1 + 1e-9)}x200"


MARKS = {
    mark(STARTED): f"{BEFORE} 360x24 stale",
    mark(ENDED): "_x96 480 stale",
    f'k6_vus{{testid="{RUN}"}}': f"{BEFORE} 20x24 stale",
}
SERVED = {span_metric(SPAN_CALLS, GET): f"{BEFORE} 100x220"}


# The distribution. All durations of GET are between 1/2 and 1 s, of POST between 1/4 and 1/2 s.

DURATIONS = {
    client_seconds(GET): f"{histogram(30, 20, 0)} stale",
    client_seconds(POST): f"{histogram(10, 4, -1)} stale",
}


def extremes(shortest: float, longest: float, name: str) -> Series:
    return {
        of_k6("k6_run_request_min_seconds", name=name): f"_ {shortest} stale",
        of_k6("k6_run_request_max_seconds", name=name): f"_ {longest} stale",
    }


def test_extremes_are_exact_where_k6_wrote_them_else_bounds_of_buckets() -> None:
    series = {**DURATIONS, **extremes(0.27, 0.48, POST)}

    hold(
        series,
        [
            (client.client_min(SELECTED, "operation"), by("operation", {GET: 0.5, POST: 0.27}), AT),
            (client.client_max(SELECTED, "operation"), by("operation", {GET: 1, POST: 0.48}), AT),
        ],
    )


def test_the_extremes_of_all_are_those_of_the_operations() -> None:
    series = {**DURATIONS, **extremes(0.27, 0.48, POST), **extremes(0.6, 0.93, GET)}

    hold(
        series,
        [
            (client.client_min(SELECTED), total(0.27), AT),
            (client.client_max(SELECTED), total(0.93), AT),
        ],
    )


def test_an_intervals_extremes_are_its_own() -> None:
    selected = RunSelector(RUN, "30m", interval=Interval("5s"))
    series = {
        client_seconds(GET): f"{histogram(30, 20, 0)} {histogram(30, 20, 0)}",
        client_seconds(POST): f"_ {histogram(10, 4, -1)}",
        **extremes(0.27, 0.93, GET),
    }

    hold(series, [(client.client_max(selected), total(0.5), "5s")])


# A limit inside a bucket divides it by ratio.
OVER_300_MS_OF_POST = 1 - math.log2(0.3 / 0.25)
OVER_800_MS_OF_GET = 1 - math.log2(0.8 / 0.5)


def test_shares_over_the_limit_are_those_of_the_profiles_limits() -> None:
    of_spike = {name.replace('"load"', '"spike"'): values for name, values in DURATIONS.items()}
    by_operation = client.over_limit_share(SELECTED, "operation")

    hold(
        DURATIONS,
        [
            (by_operation, by("operation", {GET: 1, POST: OVER_300_MS_OF_POST}), AT),
            (client.over_limit_share(SELECTED), total(0.75 * OVER_800_MS_OF_GET), AT),
        ],
    )
    hold(of_spike, [(by_operation, by("operation", {GET: OVER_800_MS_OF_GET, POST: 0}), AT)])


def test_an_operation_without_a_limit_has_no_share_over_it() -> None:
    series = {client_seconds("GET /zoo"): f"{histogram(30, 20, 0)} stale"}

    hold(series, [(client.over_limit_share(SELECTED, "operation"), {}, AT)])


# Phases, data, iterations, checks


def test_phases_are_over_all_requests() -> None:
    series = {
        of_k6(f"k6_http_req_{name}_seconds", name=operation): f"{histogram(10, total, 0)} stale"
        for number, name in enumerate(
            ("blocked", "connecting", "tls_handshaking", "sending", "waiting", "receiving"), 1
        )
        for operation, total in ((GET, number), (POST, 3 * number))
    }
    series[f'k6_http_req_waiting_seconds{{testid="{RUN}",name="GET /readyz"}}'] = (
        f"{histogram(1, 9, 4)} stale"
    )

    hold(
        series,
        [
            (client.phase_mean(phase, SELECTED), total(0.2 * number), AT)
            for number, phase in enumerate(Phase, 1)
        ]
        + [(client.phase_quantile(0.95, Phase.WAITING, SELECTED), total(2**-0.05), AT)],
    )


def test_data_is_that_of_the_load_and_adds_up() -> None:
    series = {
        of_k6("k6_data_sent_total", journey="book"): "1000 3000 5000 stale",
        of_k6("k6_data_sent_total", journey="browse"): "_ 500 700 stale",
        of_k6("k6_data_received_total"): "2000 6000 8000 stale",
        f'k6_data_sent_total{{testid="{RUN}"}}': "77 stale",
    }
    last = RunSelector(RUN, "30m", interval=Interval("5s"))

    hold(
        series,
        [
            (client.bytes_sent(SELECTED), total(5700), AT),
            (client.bytes_received(SELECTED), total(8000), AT),
            (client.bytes_sent(last), total(2200), "10s"),
        ],
    )


def test_iterations_have_their_count_mean_and_p95() -> None:
    series = {
        of_k6("k6_iterations_total", journey="book"): "3 8 stale",
        of_k6("k6_iterations_total", journey="browse"): "_ 2 stale",
        of_k6("k6_iteration_duration_seconds", journey="book"): f"_ {histogram(8, 6, 0)} stale",
        of_k6("k6_iteration_duration_seconds", journey="browse"): f"_ {histogram(2, 3, 1)} stale",
    }

    hold(
        series,
        [
            (client.iterations(SELECTED), total(10), AT),
            (client.iteration_mean(SELECTED), total(0.9), AT),
            (client.iteration_quantile(0.95, SELECTED), total(2**0.75), AT),
            (client.iterations(SELECTED, "journey"), by("journey", {"book": 8, "browse": 2}), AT),
        ],
    )


def test_results_of_checks_of_several_generators_add_up() -> None:
    def check(result: str, instance: str) -> str:
        return of_k6("k6_run_checks", check="it answers", result=result, instance=instance)

    series = {
        check("passed", "a"): "_ 7 stale",
        check("failed", "a"): "_ 0 stale",
        check("passed", "b"): "_ 5 stale",
        check("failed", "b"): "_ 2 stale",
    }
    results = {
        '{check="it answers",result="passed"}': 12,
        '{check="it answers",result="failed"}': 2,
    }

    hold(series, [(client.checks(SELECTED), results, AT)])


# Errors


def test_errors_are_told_apart_by_what_the_response_said() -> None:
    labels = {"operation": POST, "kind": "status", "status": "500"}
    series = {
        of_k6("k6_errors_total", **labels, title="Internal Server Error"): "1 4 stale",
        of_k6("k6_errors_total", **labels): "_ 2 stale",
        of_k6(
            "k6_errors_total", operation=GET, kind="no response", status="0", error_code="1212"
        ): "_ 3 stale",
    }
    of_status = f'operation="{POST}",kind="status",status="500"'

    hold(
        series,
        [
            (
                errors.errors(SELECTED),
                {
                    f'{{{of_status},title="Internal Server Error"}}': 4,
                    f"{{{of_status}}}": 2,
                    f'{{operation="{GET}",kind="no response",status="0",error_code="1212"}}': 3,
                },
                AT,
            )
        ],
    )


def test_refused_statements_are_counted_by_sqlstate() -> None:
    def statements(code: str) -> str:
        labels = {"span_kind": Side.DATABASE, "http_response_status_code": ""}
        return span_metric(SPAN_CALLS, POST, db_response_status_code=code, **labels)

    series = {statements("P0001"): "5x5", statements("23505"): "2x5", statements(""): "90x5"}
    expected = {
        f'{{operation="{POST}",db_response_status_code="{code}"}}': count
        for code, count in (("P0001", 5), ("23505", 2))
    }

    hold(series, [(errors.database_errors(SELECTED), expected, AT)])


# Resources

USED = {
    'process_cpu_time_seconds_total{job="clinic",type="user"}': grows(96),
    'process_cpu_time_seconds_total{job="clinic",type="system"}': grows(6),
    'process_memory_usage_bytes{job="clinic",instance="a"}': "90x80 110x10 100x200",
    'process_memory_usage_bytes{job="clinic",instance="b"}': "50x300",
    'postgresql_cpu_time_seconds_total{job="postgres-sampler"}': grows(36),
    'postgresql_memory_bytes{job="postgres-sampler"}': "40x80 48x10 44x200",
    f'k6_process_cpu_time_seconds_total{{testid="{RUN}"}}': f"{BEFORE} 0+2x24 stale",
    f'k6_process_memory_usage_bytes{{testid="{RUN}"}}': f"{BEFORE} 30x12 36x12 stale",
    f'machine_cpu_time_seconds_total{{testid="{RUN}"}}': f"{BEFORE} 0+9x24 stale",
    f'machine_memory_usage_bytes{{testid="{RUN}"}}': f"{BEFORE} 700x24 stale",
    f'machine_cpus{{testid="{RUN}"}}': f"{BEFORE} 2x24 stale",
    'node_cpu_seconds_total{job="node",mode="idle",cpu="0"}': "0+1x300",
    'node_cpu_seconds_total{job="node",mode="idle",cpu="1"}': "0+1x300",
}
EXPECTED = {
    Resource.API: (0.85, 160),
    Resource.POSTGRESQL: (0.3, 48),
    Resource.K6: (0.4, 36),
    Resource.MACHINE: (1.8, 700),
}


@pytest.mark.parametrize("resource", Resource)
def test_a_run_has_mean_cores_and_most_memory(resource: Resource) -> None:
    cpu, memory = EXPECTED[resource]

    hold(
        {**MARKS, **SERVED, **USED},
        [
            (f"round({resources.cpu(resource, SELECTED, LOAD)}, 0.0001)", total(cpu), AT),
            (resources.memory(resource, SELECTED, LOAD), total(memory), AT),
            (resources.cores(resource, SELECTED, LOAD), total(2), AT),
        ],
    )


@pytest.mark.parametrize("resource", Resource)
def test_an_interval_has_its_own_cores_and_memory(resource: Resource) -> None:
    selected = RunSelector(RUN, "30m", interval=Interval("10s"))
    cpu = resources.cpu(resource, selected, Window("10s"))
    at_first = {**EXPECTED, Resource.API: (0.85, 140), Resource.POSTGRESQL: (0.3, 40)}
    memory = {**at_first, Resource.K6: (0.4, 30)}[resource][1]

    hold(
        {**MARKS, **SERVED, **USED},
        [
            (f"round({cpu}, 0.0001)", total(EXPECTED[resource][0]), "6m30s"),
            (resources.memory(resource, selected, Window("10s")), total(memory), "6m30s"),
        ],
    )


@pytest.mark.parametrize("resource", [Resource.API, Resource.POSTGRESQL])
def test_services_have_no_values_for_a_run_that_another_api_served(resource: Resource) -> None:
    hold(
        {**MARKS, **USED},
        [
            (resources.cpu(resource, SELECTED, LOAD), {}, AT),
            (resources.memory(resource, SELECTED, LOAD), {}, AT),
            (resources.cores(resource, SELECTED, LOAD), {}, AT),
        ],
    )


@pytest.mark.parametrize("resource", [Resource.K6, Resource.MACHINE])
def test_a_generator_elsewhere_has_no_values(resource: Resource) -> None:
    series = {
        name: values for name, values in {**MARKS, **SERVED, **USED}.items() if "k6_p" not in name
    }
    series = {name: values for name, values in series.items() if "machine" not in name}

    hold(
        series,
        [
            (resources.cpu(resource, SELECTED, LOAD), {}, AT),
            (resources.memory(resource, SELECTED, LOAD), {}, AT),
            (resources.cores(resource, SELECTED, LOAD), {}, AT),
        ],
    )


# PostgreSQL


def sampled(metric: str, amount: float, **labels: str) -> dict[str, str]:
    named = {"job": "postgres-sampler"} | labels
    inside = ",".join(f'{name}="{value}"' for name, value in named.items())
    return {f"postgresql_{metric}_total{{{inside}}}": grows(amount)}


def statement(name: str, ids: int, calls: float, **seconds: float) -> Series:
    """Make the counters of a statement with several texts, each of which is executed as often."""
    series: dict[str, str] = {}
    for number in range(ids):
        labels = {"statement": name, "statement_id": f"{name}{number}"}
        series |= sampled("statement_calls", calls, **labels)
        series |= sampled("statement_seconds", calls * seconds["execution"], **labels)
        for wait in ("lock", "commit"):
            series |= sampled("backend_seconds", calls * seconds[wait], wait=wait, **labels)
    return series


POSTGRESQL = {
    **statement("INSERT pet", 1, 480, execution=0.005, lock=0.003, commit=0.002),
    **statement("SELECT owner", 2, 960, execution=0.0001, lock=0, commit=0),
    **sampled("wal_bytes", 240_000),
    **sampled("wal_fsyncs", 480),
    **sampled("wal_fsync_seconds", 0.96),
    **sampled("lock_seconds", 1.2, lock="transactionid"),
    **sampled("lock_seconds", 0, lock="relation"),
}
INSERT, SELECT = "INSERT pet", "SELECT owner"


def by_statement(insert: float, select: float) -> Samples:
    return by("statement", {INSERT: insert, SELECT: select})


def test_a_run_has_what_postgresql_did() -> None:
    lock, commit = (
        run_postgresql.statement_wait(wait, SELECTED, LOAD) for wait in ("lock", "commit")
    )

    hold(
        {**MARKS, **SERVED, **POSTGRESQL},
        [
            (
                f"round({run_postgresql.statement_calls(SELECTED, LOAD)})",
                by_statement(480, 1920),
                AT,
            ),
            (run_postgresql.statement_mean(SELECTED, LOAD), by_statement(0.005, 0.0001), AT),
            (run_postgresql.statement_time(SELECTED, LOAD), by_statement(3.36, 0.192), AT),
            (lock, by_statement(0.003, 0), AT),
            (commit, by_statement(0.002, 0), AT),
            (f"round({run_postgresql.wal_bytes(SELECTED, LOAD)})", total(240_000), AT),
            (f"round({run_postgresql.fsyncs(SELECTED, LOAD)})", total(480), AT),
            (run_postgresql.fsync_mean(SELECTED, LOAD), total(0.002), AT),
            (run_postgresql.lock_time(SELECTED, LOAD), by("lock", {"transactionid": 1.2}), AT),
        ],
    )


def test_what_postgresql_did_for_others_is_not_the_runs() -> None:
    expressions = (
        run_postgresql.statement_calls(SELECTED, LOAD),
        run_postgresql.wal_bytes(SELECTED, LOAD),
        run_postgresql.lock_time(SELECTED, LOAD),
    )

    hold({**MARKS, **POSTGRESQL}, [(expression, {}, AT) for expression in expressions])


def test_what_a_program_counted_before_its_restart_is_not_the_runs() -> None:
    """It restarted before the run, and in it counted more than ever before."""
    calls = 'postgresql_statement_calls_total{job="postgres-sampler",statement="INSERT pet"}'
    series = {**MARKS, **SERVED, calls: "100x60 _x13 5+5x22 120x200"}

    hold(
        series,
        [(run_postgresql.statement_calls(SELECTED, LOAD), by("statement", {INSERT: 120}), AT)],
    )
