"""The whole product on real programs: start the stack, load-test it, read the run back.

Whatever k6 counted, the server, the trace store, Prometheus and PostgreSQL must have too.
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from lab.clients.prometheus import Prometheus
from lab.clients.tempo_or_jaeger import connect
from lab.clients.trace_store import TraceSearch
from lab.promql.run_list import SECONDS_AFTER
from lab.runs import record
from lab.runs.reader import read_metrics
from lab.runs.record import Record
from lab.stack.config import StackConfig
from tests.support.native_stack import NativeStack
from tests.support.panels import JAEGER_ONLY, MAY_BE_EMPTY, TEMPO_ONLY, Query, queries

pytestmark = pytest.mark.stack

SERVICE_GRAPH = "traces_service_graph_request_total"
WRITES = {
    "POST /owners": "owner",
    "POST /owners/{owner_id}/pets": "pet",
    "POST /pets/{pet_id}/appointments": "appointment",
}


@dataclass
class Run:
    """A run that has ended: its exit status and output, and k6's own summary of it."""

    stack: NativeStack
    id: str
    status: int
    output: str
    summary: dict[str, Any]

    @property
    def config(self) -> StackConfig:
        return self.stack.config

    def command(self, *words: str) -> str:
        answer = self.stack.run(*words)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def record(self) -> Record:
        with Prometheus(self.config.prometheus_url) as prometheus:
            return read_metrics(prometheus, self.id)

    def file(self, suffix: str) -> Path:
        return Path(self.stack.environment[record.FOLDER_VARIABLE]) / f"{self.id}{suffix}"

    def shown(self, panel: str, series: str = "") -> dict[str, float]:
        """Return what a panel of the Load test dashboard shows at the run's end, by operation."""
        query = queries()["Load test", panel, series].filled(testid=self.id, scenario=".+")
        at = self.record().period.ended + SECONDS_AFTER
        with Prometheus(self.config.prometheus_url) as prometheus:
            return prometheus.by_label(query, "operation", at)


def load_test(stack: NativeStack, profile: str, **settings: str) -> Run:
    answer = stack.run("run", profile, **settings)
    match = re.search(r"^Run (\S+) against", answer.stdout, re.MULTILINE)
    assert match, answer.stdout + answer.stderr
    summary = json.loads(Path(stack.environment["K6_SUMMARY_EXPORT"]).read_text())["metrics"]
    return Run(stack, match[1], answer.returncode, answer.stdout + answer.stderr, summary)


def without_tempo(path: str) -> str:
    folders = path.split(os.pathsep)
    return os.pathsep.join(f for f in folders if not (Path(f) / "tempo").exists())


@pytest.fixture(scope="module", params=["jaeger", "tempo"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Start a stack and run the smoke profile against it."""
    path = os.environ["PATH"]
    if request.param == "jaeger":
        path = without_tempo(path)
    elif shutil.which("tempo") is None:
        pytest.skip("Tempo is not on PATH")
    with tempfile.TemporaryDirectory(prefix="clinic-") as folder:
        stack = NativeStack(Path(folder))
        stack.environment |= {
            "PATH": path,
            record.FOLDER_VARIABLE: f"{folder}/results",
            "K6_SUMMARY_EXPORT": f"{folder}/summary.json",
            "COLUMNS": "120",
        }
        try:
            up = stack.run("up")
            assert up.returncode == 0, up.stdout + up.stderr
            yield load_test(stack, "smoke")
        finally:
            down = stack.run("down")
            assert down.returncode == 0, down.stderr


def counted_by_k6(run: Run) -> int:
    """Return the number of requests of the load, without k6's two readiness checks before it."""
    return int(run.summary["http_reqs"]["count"]) - 2


def is_p95(seconds: float | None, k6: dict[str, float]) -> bool:
    """Compare a p95 with k6's own summary in ms.

    Of sixty durations the 57th and the 58th lie far apart, and a bucket is 5 % wide: any way of
    taking a percentile stays between k6's p90 and p99.
    """
    return k6["p(90)"] * 0.95 <= (seconds or 0) * 1000 <= k6["p(99)"] * 1.05


def test_the_run_passes_its_thresholds(run: Run) -> None:
    assert run.status == 0, run.output
    assert run.id.endswith("-smoke")
    assert counted_by_k6(run) > 300


def test_the_record_agrees_with_k6s_own_summary(run: Run) -> None:
    saved = record.load(run.file(".json"))
    requests = counted_by_k6(run)
    k6 = run.summary["http_req_duration{scenario:smoke}"]

    assert (saved.verdict, saved.profile, saved.journey) == ("passed", "smoke", "book")
    assert all(threshold.passed for threshold in saved.thresholds)
    assert saved.missing == []
    assert saved.total.requests == requests
    assert saved.completeness.sent == saved.completeness.traced == requests
    assert saved.completeness.created == saved.completeness.rows_written == requests // 2
    in_timeline = sum(point.requests for point in saved.operation_timeline)
    assert in_timeline == pytest.approx(requests, abs=6)
    assert saved.total.failed_share == run.summary["http_req_failed"]["value"] == 0
    assert saved.total.client_p50 == pytest.approx(k6["med"] / 1000, rel=0.05)
    assert is_p95(saved.total.client_p95, k6)
    assert [row.requests for row in saved.operations] == [requests // 6] * 6
    for row in saved.operations:
        assert is_p95(row.client_p95, run.summary[f"http_req_duration{{name:{row.operation}}}"])
        assert row.server_p95 is not None
        assert row.database_p95 is not None
        # The buckets of the sides differ by a few percent, and a server's span ends after its
        # client has the response: on a busy machine by some milliseconds.
        assert row.database_p95 <= row.server_p95 * 1.1
        assert row.server_p95 <= (row.client_p95 or 0) * 1.2 + 0.01


def test_the_record_has_traces_and_environment_and_no_password(run: Run) -> None:
    saved = record.load(run.file(".json"))

    assert len(saved.slowest_traces) >= 10
    kinds = [{span.kind for span in trace.spans} for trace in saved.slowest_traces]
    assert all(kind == {"server", "client"} for kind in kinds)
    assert saved.environment is not None
    assert {"k6", "prometheus", "postgres", "api"} <= set(saved.environment.programs)
    assert list(saved.environment.options["scenarios"]) == ["smoke"]
    assert run.config.password_file.read_text().strip() not in str(saved)


def test_the_report_page_links_to_a_trace_of_the_operation_nearest_its_limit(run: Run) -> None:
    html = run.file(".html").read_text()
    links = re.findall(r'href="#(trace-[0-9a-f]{32})"', html)

    assert f"\n{run.file('.html')}\n" in run.output
    assert len(html) < 1_000_000
    assert links
    assert all(f'id="{link}"' in html for link in links)


def test_the_dashboard_agrees_with_k6s_own_summary(run: Run) -> None:
    sent = counted_by_k6(run)
    requests = run.shown("Operations", "Requests")

    assert run.shown("Verdict") == {"": 1}
    assert run.shown("Requests") == {"": sent}
    for count in ("sent", "traced"):
        assert run.shown("Completeness", count) == {"": sent}, count
    for count in ("promised", "written"):
        rows = sum(requests[operation] for operation in WRITES)
        assert run.shown("Completeness", count) == {"": rows}, count
    for missing in ("traces", "rows"):
        assert run.shown("Missing", missing) == {"": 0}, missing
    assert run.shown("Failed") == {"": 0}
    [rate] = run.shown("Rate").values()
    assert rate == pytest.approx(sent / run.record().period.seconds, rel=0.001)
    [p95] = run.shown("Client p95").values()
    assert is_p95(p95, run.summary["http_req_duration{scenario:smoke}"])
    assert sum(requests.values()) == sent
    assert len(requests) == 6
    for operation, seconds in run.shown("Operations", "Client p95").items():
        assert is_p95(seconds, run.summary[f"http_req_duration{{name:{operation}}}"])


def answers(run: Run, query: Query, variables: dict[str, str], times: tuple[float, float]) -> int:
    """Count the series, values or traces that a query of a dashboard returns."""
    asked = query.filled(**variables)
    if query.source == "tempo":
        return len(searched(run, asked)) if asked.startswith("{") else 1
    if asked.startswith("label_values("):
        metric, label = asked.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        with Prometheus(run.config.prometheus_url) as prometheus:
            return len(prometheus.label_values(label, metric))
    since, until = times
    at = {"start": since, "end": until, "step": 5.0} if query.over_time else {"time": until}
    path = "query_range" if query.over_time else "query"
    url = f"{run.config.prometheus_url}/api/v1/{path}"
    response = httpx.post(url, data={"query": asked, **at}, timeout=20).json()
    assert response["status"] == "success", (query, response)
    return len(response["data"]["result"])


def searched(run: Run, query: str) -> list[Any]:
    """Search by TraceQL until the trace store finds something."""
    for _ in range(20):
        response = httpx.get(f"{run.config.traces_url}/api/search", params={"q": query}, timeout=20)
        assert response.is_success, response.text
        if traces := response.json().get("traces"):
            return list(traces)
        time.sleep(0.5)
    return []


def test_every_request_has_its_trace_with_both_spans(run: Run) -> None:
    metrics = run.record()
    with connect(run.config.traces_url) as store:
        requests, incomplete = store.slower_than(TraceSearch(run.id, metrics.period), 0, 5000)
        spans = store.spans(requests[0].trace_id)

    assert not incomplete
    assert len({request.trace_id for request in requests}) == counted_by_k6(run)
    assert Counter(request.operation for request in requests) == {
        row.operation: row.requests for row in metrics.operations
    }
    assert sorted(span.kind for span in spans) == ["client", "server"]
    assert {span.attributes["k6.test_run_id"] for span in spans} == {run.id}


async def count_rows(config: StackConfig) -> Counter[str]:
    engine = create_async_engine(config.database_url)
    async with engine.connect() as connection:
        rows = {
            operation: await connection.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608
            for operation, table in WRITES.items()
        }
    await engine.dispose()
    return Counter({operation: count or 0 for operation, count in rows.items()})


@pytest.mark.anyio
async def test_every_201_has_its_row(run: Run) -> None:
    rows = await count_rows(run.config)

    requests = {row.operation: row.requests for row in run.record().operations}
    assert rows == {operation: requests[operation] for operation in WRITES}


def test_a_run_can_be_reported_again_and_a_trace_drawn(run: Run) -> None:
    table = run.output[run.output.index(f"Run {run.id}  ") :]
    again = run.command("report")
    trace_id = re.search(r"^\s*([0-9a-f]{32}) ", again, re.MULTILINE)
    assert trace_id

    waterfall = run.command("trace", trace_id[1])

    assert again.split("Slowest")[0].strip() == table.split("Slowest")[0].strip()
    for operation in WRITES:
        assert operation in again
    assert run.id in waterfall
    assert "db.query.text" in waterfall


def test_the_apis_own_metrics_arrive(run: Run) -> None:
    with Prometheus(run.config.prometheus_url) as prometheus:
        names = prometheus.label_values("__name__", '{job="clinic"}')
        labels = prometheus.label_values(
            "user_agent_synthetic_type", "http_server_request_duration_seconds"
        )

    assert set(names) >= {
        "clinic_event_loop_lag_seconds",
        "cpython_gc_collections_total",
        "db_client_connection_count",
        "http_server_request_duration_seconds",
        "otel_sdk_exporter_span_exported_total",
        "otel_sdk_processor_span_queue_size",
        "process_memory_usage_bytes",
    }
    assert labels == ["test"]


def test_the_service_graph_names_k6_the_clinic_and_its_database(run: Run) -> None:
    """Tempo adds a call without a parent after waiting ten seconds for one.

    k6's readiness checks before the load belong to no run, so they come from "user".
    """
    if shutil.which("tempo", path=run.stack.environment["PATH"]) is None:
        pytest.skip("Jaeger draws no service graph")
    calls = {("k6", "clinic"), ("clinic", "postgresql")}

    def drawn() -> set[tuple[str, str]]:
        with Prometheus(run.config.prometheus_url) as prometheus:
            return {
                (client, server)
                for client in prometheus.label_values("client", SERVICE_GRAPH)
                for server in prometheus.label_values(
                    "server", f'{SERVICE_GRAPH}{{client="{client}"}}'
                )
            }

    until = time.monotonic() + 40
    while not drawn() >= calls and time.monotonic() < until:
        time.sleep(1)
    assert drawn() - {("user", "clinic")} == calls


def test_every_panel_and_variable_of_the_dashboards_shows_the_run(run: Run) -> None:
    """With a second run to compare it to."""
    other = load_test(run.stack, "smoke", DURATION="5s")
    variables = {"testid": run.id, "against": other.id, "scenario": ".+", "slow": "0"}
    variables |= {"__rate_interval": "20s", "__interval": "5s", "calls": ".*"}
    tempo = shutil.which("tempo", path=run.stack.environment["PATH"])
    period = run.record().period
    # Losses are shown from 20 s after the end.
    time.sleep(max(0.0, period.ended + 30 - time.time()))
    since, until = period.started - 10, time.time()
    variables["__range"] = f"{until - since:.0f}s"

    empty = {
        query.address
        for query in queries().values()
        if (tempo or query.source != "tempo") and not answers(run, query, variables, (since, until))
    }

    assert sorted(empty - {*MAY_BE_EMPTY, *(JAEGER_ONLY if tempo else TEMPO_ONLY)}) == []


FEW = {"RATE": "6"}
FEW_USERS = {"VUS": "6"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("profile", "journey", "size"),
    [
        ("smoke", "cancel", FEW),
        ("load", "book", FEW),
        ("stress", "mixed", FEW_USERS),
        ("spike", "cancel", FEW_USERS),
        ("soak", "browse", FEW),
        ("breakpoint", "mixed", FEW),
    ],
)
async def test_each_profile_and_journey_passes_and_leaves_a_row_for_each_201(
    run: Run, profile: str, journey: str, size: dict[str, str]
) -> None:
    before = await count_rows(run.config)
    other = load_test(run.stack, profile, JOURNEY=journey, DURATION="6s", **size)
    added = await count_rows(run.config)
    added.subtract(before)

    assert other.status == 0, other.output
    metrics = other.record()
    requests = Counter({row.operation: row.requests for row in metrics.operations})
    assert metrics.total.failed_share == 0
    assert metrics.completeness.sent == metrics.completeness.traced > 10
    assert added == Counter({operation: requests[operation] for operation in WRITES})


@pytest.mark.anyio
async def test_clean_up_leaves_the_clinic_as_it_was(run: Run) -> None:
    before = await count_rows(run.config)
    other = load_test(run.stack, "smoke", DURATION="5s", CLEANUP="1", JOURNEY="mixed")

    assert other.status == 0, other.output
    assert re.search(r"Deleted \d+ owners", other.output)
    assert await count_rows(run.config) == before
    assert other.record().completeness.missing == 0
