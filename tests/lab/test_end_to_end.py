"""The main job on real parts: bring the stack up, put a load on it, read the run back.

Whatever k6 counted, the server, the trace store, Prometheus and PostgreSQL must have too.
"""

import json
import os
import re
import shutil
import subprocess
import sys
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
from lab.paths import PROJECT
from lab.promql.run_list import SECONDS_AFTER
from lab.runs import reader, record
from lab.runs.record import Record
from lab.stack.config import PORTS, StackConfig
from lab.stack.ports import free_ports
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
    """A run that has ended: what k6 said of it, and where the rest is to be found."""

    config: StackConfig
    id: str
    status: int
    said: str
    summary: dict[str, Any]
    environment: dict[str, str]

    def command(self, *words: str) -> str:
        """Ask for something of the run, as a user would."""
        answer = subprocess.run(
            [sys.executable, "-m", "lab", *words],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        )
        return answer.stdout

    def another(self, profile: str, **settings: str) -> "Run":
        """Put another load on the same stack."""
        return load_of(self.config, profile, self.environment | settings)

    def numbers(self) -> Record:
        with Prometheus(self.config.prometheus_url) as prometheus:
            return reader.read_metrics(prometheus, self.id)

    def shown(self, panel: str, series: str = "") -> dict[str, float]:
        """Give what a panel of the Load test dashboard shows at the run's end, by operation."""
        query = queries()["Load test", panel, series]
        asked = query.filled(testid=self.id, scenario=".+")
        with Prometheus(self.config.prometheus_url) as prometheus:
            period = reader.find_period(prometheus, self.id)
            return prometheus.by_label(asked, "operation", period.ended + SECONDS_AFTER)


def without_tempo(path: str) -> str:
    folders = path.split(os.pathsep)
    return os.pathsep.join(f for f in folders if not (Path(f) / "tempo").exists())


def load_of(config: StackConfig, profile: str, environment: dict[str, str]) -> Run:
    """Put a load on a stack, as a user would."""
    answer = subprocess.run(
        [sys.executable, "-m", "lab", "run", profile],
        env=environment,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    found = re.search(r"^Run (\S+) against", answer.stdout, re.MULTILINE)
    assert found, answer.stdout
    summary = json.loads(Path(environment["K6_SUMMARY_EXPORT"]).read_text())["metrics"]
    return Run(config, found[1], answer.returncode, answer.stdout, summary, environment)


@pytest.fixture(scope="module", params=["jaeger", "tempo"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Bring a stack up on free ports and put the smoke profile on it."""
    path = os.environ["PATH"]
    if request.param == "jaeger":
        path = without_tempo(path)
    elif shutil.which("tempo") is None:
        pytest.skip("Tempo is not on PATH")
    with tempfile.TemporaryDirectory(prefix="clinic-") as folder:
        ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        summary = Path(folder) / "summary.json"
        environment = {
            **os.environ,
            **ports,
            "PATH": path,
            "CLINIC_STATE_DIR": folder,
            "CLINIC_RESULTS_DIR": f"{folder}/results",
            "K6_SUMMARY_EXPORT": str(summary),
            "COLUMNS": "120",
        }
        native = [sys.executable, "-m", "lab"]
        up = subprocess.run([*native, "up"], env=environment, cwd=PROJECT, check=False)
        assert up.returncode == 0
        try:
            config = StackConfig(Path(folder), **{k.lower(): int(v) for k, v in ports.items()})
            yield load_of(config, "smoke", environment)
        finally:
            down = subprocess.run([*native, "down"], env=environment, cwd=PROJECT, check=False)
            assert down.returncode == 0


def counted_by_k6(run: Run) -> int:
    """Count the requests of the load, without k6's own two questions before it."""
    return int(run.summary["http_reqs"]["count"]) - 2


def test_the_run_passes_its_thresholds(run: Run) -> None:
    assert run.status == 0, run.said
    assert run.id.endswith("-smoke")
    assert counted_by_k6(run) > 300


def test_prometheus_agrees_with_k6s_own_summary(run: Run) -> None:
    of_run = run.numbers()

    assert of_run.completeness.sent == of_run.completeness.traced == counted_by_k6(run)
    assert [row.requests for row in of_run.operations] == [counted_by_k6(run) // 6] * 6
    assert of_run.total.failed_share == run.summary["http_req_failed"]["value"] == 0
    for row in of_run.operations:
        k6 = run.summary[f"http_req_duration{{name:{row.operation}}}"]
        assert row.client_p95 is not None
        # Of sixty durations the 57th and the 58th lie far apart, and a bucket is 5 % wide: both
        # ways of taking a percentile stay between its neighbours.
        assert k6["p(90)"] * 0.95 <= row.client_p95 * 1000 <= k6["p(99)"] * 1.05
        assert row.server_p95 is not None
        assert row.database_p95 is not None
        # The buckets of the sides differ by a few percent, and a server's span ends after its
        # client has the answer: on a busy machine by some milliseconds.
        assert row.database_p95 <= row.server_p95 * 1.1
        assert row.server_p95 <= row.client_p95 * 1.2 + 0.01


def test_the_record_beside_the_page_agrees_with_k6s_own_summary(run: Run) -> None:
    kept = record.load(Path(run.environment[record.FOLDER_VARIABLE]) / f"{run.id}.json")
    k6 = run.summary["http_req_duration{scenario:smoke}"]

    assert (kept.verdict, kept.profile, kept.journey) == ("passed", "smoke", "book")
    assert all(threshold.passed for threshold in kept.thresholds)
    assert kept.missing == []
    assert kept.total.requests == counted_by_k6(run)
    assert kept.completeness.created == kept.completeness.rows_written == counted_by_k6(run) // 2
    assert sum(part.requests for part in kept.operation_timeline) == pytest.approx(
        kept.total.requests, abs=6
    )
    assert kept.total.client_p50 == pytest.approx(k6["med"] / 1000, rel=0.05)
    assert k6["p(90)"] * 0.95 <= (kept.total.client_p95 or 0) * 1000 <= k6["p(99)"] * 1.05
    assert len(kept.slowest_traces) >= 10
    assert all({span.kind for span in t.spans} == {"server", "client"} for t in kept.slowest_traces)
    assert kept.environment is not None
    assert {"k6", "prometheus", "postgres", "api"} <= set(kept.environment.programs)
    assert list(kept.environment.options["scenarios"]) == ["smoke"]
    assert run.config.password_file.read_text().strip() not in str(kept)


def test_the_page_is_written_and_leads_to_the_slowest_operations_trace(run: Run) -> None:
    path = Path(run.environment[record.FOLDER_VARIABLE]) / f"{run.id}.html"
    html = path.read_text()
    shows = re.search(r'<a href="#(trace-[0-9a-f]{32})">open the trace that shows it', html)

    assert f"\n{path}\n" in run.said
    assert len(html) < 1_000_000
    assert shows
    assert f'id="{shows[1]}"' in html
    assert "every threshold held" in html


def close(shown: float, k6: dict[str, float]) -> bool:
    """Compare a p95 in seconds with k6's, as above."""
    return k6["p(90)"] * 0.95 <= shown * 1000 <= k6["p(99)"] * 1.05


def test_the_dashboard_of_the_run_agrees_with_k6s_own_summary(run: Run) -> None:
    sent = counted_by_k6(run)
    requests = run.shown("Operations", "Requests")

    assert run.shown("Verdict") == {"": 1}
    assert run.shown("Requests") == {"": sent}
    for count in ("sent", "traced"):
        assert run.shown("Completeness", count) == {"": sent}, count
    for count in ("created", "written"):
        rows = sum(requests[operation] for operation in WRITES)
        assert run.shown("Completeness", count) == {"": rows}, count
    for lost in ("traces", "rows"):
        assert run.shown("Lost", lost) == {"": 0}, lost
    assert run.shown("Failed") == {"": 0}
    [rate] = run.shown("Rate").values()
    assert rate == pytest.approx(sent / run.numbers().period.seconds, rel=0.001)
    [p95] = run.shown("Client p95").values()
    assert close(p95, run.summary["http_req_duration{scenario:smoke}"])
    assert sum(requests.values()) == sent
    assert len(requests) == 6
    for operation, seconds in run.shown("Operations", "Client p95").items():
        assert close(seconds, run.summary[f"http_req_duration{{name:{operation}}}"])


def answers(run: Run, query: Query, variables: dict[str, str], times: tuple[float, float]) -> int:
    """Count the series, values or traces that a query of a dashboard finds."""
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
    found = httpx.post(url, data={"query": asked, **at}, timeout=20).json()
    assert found["status"] == "success", (query, found)
    return len(found["data"]["result"])


def searched(run: Run, query: str) -> list[Any]:
    """Search the trace store by TraceQL, once what it has is searchable."""
    for _ in range(20):
        found = httpx.get(f"{run.config.traces_url}/api/search", params={"q": query}, timeout=20)
        assert found.is_success, found.text
        if traces := found.json().get("traces"):
            return list(traces)
        time.sleep(0.5)
    return []


def test_every_request_has_its_trace_with_both_spans(run: Run) -> None:
    of_run = run.numbers()
    with connect(run.config.traces_url) as store:
        requests, left_out = store.slower_than(TraceSearch(run.id, of_run.period), 0, 5000)
        spans = store.spans(requests[0].trace_id)

    assert not left_out
    assert len({request.trace_id for request in requests}) == counted_by_k6(run)
    assert Counter(request.operation for request in requests) == {
        row.operation: row.requests for row in of_run.operations
    }
    assert sorted(span.kind for span in spans) == ["client", "server"]
    assert {span.attributes["k6.test_run_id"] for span in spans} == {run.id}


async def rows_of(config: StackConfig) -> Counter[str]:
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
    rows = await rows_of(run.config)

    of_run = run.numbers()
    assert rows == {
        row.operation: row.requests for row in of_run.operations if row.operation in WRITES
    }


def test_the_run_can_be_read_again_and_a_trace_be_drawn(run: Run) -> None:
    table = run.said[run.said.index(f"Run {run.id}  ") :]
    again = run.command("report")
    trace_id = re.search(r"^\s*([0-9a-f]{32}) ", again, re.MULTILINE)
    assert trace_id

    waterfall = run.command("trace", trace_id[1])

    assert again.split("Slowest")[0].strip() == table.split("Slowest")[0].strip()
    for operation in WRITES:
        assert operation in again
    assert run.id in waterfall
    assert "db.query.text" in waterfall


def test_the_services_own_metrics_arrive(run: Run) -> None:
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
    """Tempo draws a call without a parent after ten seconds of waiting for one.

    k6's questions before the load are those of a user, and no iterations.
    """
    if shutil.which("tempo", path=run.environment["PATH"]) is None:
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
    other = run.another("smoke", DURATION="5s")
    variables = {"testid": run.id, "against": other.id, "scenario": ".+", "slow": "0"}
    variables |= {"__rate_interval": "20s", "__interval": "5s", "calls": ".*"}
    tempo = shutil.which("tempo", path=run.environment["PATH"])
    period = run.numbers().period
    # What was lost is told from 20 s after the end.
    time.sleep(max(0.0, period.ended + 30 - time.time()))
    since, until = period.started - 10, time.time()
    variables["__range"] = f"{until - since:.0f}s"

    empty = {
        query.address
        for query in queries().values()
        if (tempo or query.source != "tempo") and not answers(run, query, variables, (since, until))
    }

    assert not empty - {*MAY_BE_EMPTY, *(JAEGER_ONLY if tempo else TEMPO_ONLY)}


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
async def test_each_profile_and_journey_holds_and_leaves_a_row_for_each_201(
    run: Run, profile: str, journey: str, size: dict[str, str]
) -> None:
    before = await rows_of(run.config)
    other = run.another(profile, JOURNEY=journey, DURATION="6s", **size)
    added = await rows_of(run.config)
    added.subtract(before)

    assert other.status == 0, other.said
    of_run = other.numbers()
    requests = Counter({row.operation: row.requests for row in of_run.operations})
    assert of_run.total.failed_share == 0
    assert of_run.completeness.sent == of_run.completeness.traced > 10
    assert added == Counter({operation: requests[operation] for operation in WRITES})


@pytest.mark.anyio
async def test_clean_up_leaves_the_clinic_as_it_was(run: Run) -> None:
    before = await rows_of(run.config)
    other = run.another("smoke", DURATION="5s", CLEANUP="1", JOURNEY="mixed")

    assert other.status == 0, other.said
    assert "Removed" in other.said
    assert await rows_of(run.config) == before
    assert other.numbers().completeness.sent == other.numbers().completeness.traced > 10
