"""The service `postgres-sampler`: what PostgreSQL measures, as counters for Prometheus.

It looks at the API's backends 20 times a second while statements run, because pg_stat_activity
tells only what a backend waits for at that moment. The other counters grow by what PostgreSQL's
statistics grew since the last scrape.

The container runs this file alone in the API's image, so it imports the standard library and
asyncpg only.
"""

import asyncio
import os
import random
import re
import signal
import time
import zlib
from contextlib import suppress
from email.message import Message
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg  # type: ignore[import-untyped]

HOST = os.environ.get("POSTGRES_SAMPLER_HOST", "127.0.0.1")
PORT = int(os.environ.get("POSTGRES_SAMPLER_PORT", "9188"))
DATABASE_URL = os.environ.get("POSTGRES_SAMPLER_DATABASE_URL", "")
PASSWORD_FILE = Path(os.environ.get("POSTGRES_SAMPLER_PASSWORD_FILE", ""))
# Of PostgreSQL's first process. Its processes can be read only where they run beside this one.
PID_FILE = os.environ.get("POSTGRES_SAMPLER_PID_FILE", "")
PROCESSES = Path("/proc")
# As in notifications.py: each of the two files is mounted alone.
NAMES = {"localhost", "127.0.0.1", "[::1]", "postgres-sampler"}
PORT_OF_HOST = re.compile(r":\d{1,5}$")
# Browsers send these with requests from pages; Prometheus sends neither.
BROWSER_HEADERS = ("Origin", "Sec-Fetch-Site")

BUSY_SECONDS = 0.05
IDLE_SECONDS = 1.0
# How long it stays busy after the last statement.
LINGER_SECONDS = 5.0
RETRY_SECONDS = 1.0
TIMEOUT = 3
MAX_STATEMENTS = 200

Statement = tuple[str, str]
"""The id of a statement, and its verb and table."""
OTHER: Statement = ("other", "other")
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
# Of the catalog and of migrations: not the API's own.
OTHER_TABLES = ("pg_", "alembic_", "information_schema")
# As in the names of the API's database spans (src/clinic/telemetry/database.py).
TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+(\w+)", re.IGNORECASE)
QUOTED = re.compile(r"'[^']*(?:'|$)|\$\w*\$.*|/\*.*?(?:\*/|$)|--[^\n]*", re.DOTALL)

EXECUTING, LOCK, COMMIT, CLIENT = WAITS = ("executing", "lock", "commit", "client")
COMMIT_EVENTS = {
    ("IO", "WalSync"),
    ("IO", "WalWrite"),
    ("LWLock", "WALWrite"),
    ("LWLock", "WALInsert"),
    ("IPC", "SyncRep"),
}
LOCKS = ("relation", "transactionid", "tuple", "advisory", "other")
PROPORTION = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)

METRICS = {
    "postgresql_active_seconds": "Seconds that backends of the API's database were active.",
    "postgresql_backend_seconds": "Seconds that active backends of the API were seen waiting.",
    "postgresql_lock_seconds": "Seconds that active backends of the API waited, by kind of lock.",
    "postgresql_samples": "Looks at pg_stat_activity.",
    "postgresql_statement_calls": "Executions of a statement of the API.",
    "postgresql_statement_seconds": "Seconds that executions of a statement of the API took.",
    "postgresql_wal_bytes": "Bytes of the write-ahead log.",
    "postgresql_wal_fsyncs": "Flushes of the write-ahead log to disk.",
    "postgresql_wal_fsync_seconds": "Seconds that flushes of the write-ahead log took.",
    "postgresql_cpu_time_seconds": "CPU time of all processes of PostgreSQL.",
}
MEMORY = "postgresql_memory_bytes"
MEMORY_HELP = "Resident memory of PostgreSQL, with memory that its processes share counted once."

BACKENDS = """
    SELECT query, query_id, state = 'active', wait_event_type, wait_event,
           state = 'active' OR state_change > clock_timestamp() - interval '2 s',
           backend_xid IS NULL
    FROM pg_stat_activity
    WHERE datname = 'clinic' AND usename = 'clinic_api' AND application_name = 'clinic'
      AND backend_type = 'client backend'
"""
# active_time and fsync_time are in milliseconds.
TOTALS = """
    SELECT
      (SELECT active_time / 1000 FROM pg_stat_database WHERE datname = 'clinic')
        AS postgresql_active_seconds,
      (SELECT wal_bytes::float8 FROM pg_stat_wal) AS postgresql_wal_bytes,
      sum(fsyncs)::float8 AS postgresql_wal_fsyncs,
      sum(fsync_time) / 1000 AS postgresql_wal_fsync_seconds
    FROM pg_stat_io WHERE object = 'wal'
"""
STATEMENTS = """
    SELECT queryid, stats_since, calls, total_exec_time / 1000
    FROM pg_stat_statements(showtext := false)
    WHERE toplevel AND queryid IS NOT NULL AND userid = to_regrole('clinic_api')
      AND dbid = (SELECT oid FROM pg_database WHERE datname = 'clinic')
"""
TEXTS = "SELECT queryid, query FROM pg_stat_statements WHERE queryid = ANY($1)"


@lru_cache(1000)
def describe(sql: str) -> Statement:
    """Return the id and the name of a statement; neither holds a value from its text."""
    verb = sql.split(None, 1)[0].upper() if sql.strip() else ""
    table = TABLE.search(QUOTED.sub(" ", sql))
    if verb not in VERBS or (table and table[1].startswith(OTHER_TABLES)):
        return OTHER
    return f"{zlib.crc32(sql.encode()):08x}", f"{verb} {table[1]}" if table else verb


class Processes:
    """All processes of PostgreSQL, of which the first one starts the others."""

    def __init__(self) -> None:
        self.grown: float | None = None
        """Seconds of CPU time since the reading before, None if it cannot be read."""
        self.memory: int | None = None
        """Bytes, None if they cannot be read."""
        self._first = 0
        self._cpu_total = 0.0

    def read(self) -> None:
        """Read the current values."""
        self.grown = self.memory = None
        with suppress(OSError, ValueError):
            first = int(Path(PID_FILE).read_text().split()[0])
            children = (PROCESSES / str(first) / "task" / str(first) / "children").read_text()
            pids = (first, *map(int, children.split()))
            # Those that have ended are in the first one's time of its children.
            total = sum(map(self._cpu_time, pids)) + self._cpu_time(first, of_children=True)
            before = self._cpu_total if first == self._first else 0.0 if self._first else total
            # One that ends meanwhile, or a clock's tick, may make it a little too high for once.
            self.grown = max(total - before, 0.0)
            self._first, self._cpu_total = first, max(total, before)
            self.memory = sum(map(self._memory, pids))

    @staticmethod
    def _cpu_time(pid: int, *, of_children: bool = False) -> float:
        try:
            stat = (PROCESSES / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            return 0.0
        user = 13 if of_children else 11  # after the name, which may hold anything
        values = stat.rpartition(")")[2].split()[user : user + 2]
        return sum(map(int, values)) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _memory(pid: int) -> int:
        """Return the private memory of a process and its proportion of what it shares."""
        try:
            text = (PROCESSES / str(pid) / "smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return 1024 * sum(map(int, PROPORTION.findall(text)))


class Counters:
    """Counters that only grow, with the time at which each was zero, and the gauge of memory."""

    def __init__(self) -> None:
        self.memory: int | None = None
        self.values: dict[str, dict[str, float]] = {metric: {} for metric in METRICS}
        self.created: dict[str, dict[str, float]] = {metric: {} for metric in METRICS}

    def add(self, metric: str, value: float, since: float, **labels: str) -> None:
        inside = ",".join(f'{name}="{label}"' for name, label in labels.items())
        series = f"{{{inside}}}" if inside else ""
        self.created[metric].setdefault(series, since)
        self.values[metric][series] = self.values[metric].get(series, 0) + max(value, 0)

    def text(self) -> str:
        """Write the counters and the gauge in the OpenMetrics format."""
        lines = []
        for metric, help_text in METRICS.items():
            lines += [f"# TYPE {metric} counter", f"# HELP {metric} {help_text}"]
            for series, value in self.values[metric].items():
                lines.append(f"{metric}_total{series} {value:.9g}")
                lines.append(f"{metric}_created{series} {self.created[metric][series]:.3f}")
        if self.memory is not None:
            lines += [f"# TYPE {MEMORY} gauge", f"# HELP {MEMORY} {MEMORY_HELP}"]
            lines.append(f"{MEMORY} {self.memory}")
        return "\n".join([*lines, "# EOF\n"])


class Growth:
    """The growth of PostgreSQL's totals from one reading to the next, across resets."""

    def __init__(self) -> None:
        self.last: dict[Any, tuple[float, ...]] = {}
        self.is_first = True

    def update(self, readings: dict[Any, Any]) -> dict[Any, tuple[float, ...]]:
        """Return what has grown; nothing at the first reading."""
        growth = {}
        for key, values in readings.items():
            before = self.last.get(key)
            if before is None or any(b > v for b, v in zip(before, values, strict=True)):
                before = values if self.is_first else tuple(0.0 for _ in values)
            difference = tuple(v - b for v, b in zip(values, before, strict=True))
            if any(difference):
                growth[key] = difference
        self.last = readings
        self.is_first = False
        return growth


class Sampler:
    """Reads PostgreSQL's statistics into counters, for as long as the process runs."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.connection: asyncpg.Connection | None = None
        self.using = asyncio.Lock()
        self.by_query_id: dict[int, Statement] = {}
        self.statements: set[Statement] = set()
        self.statement_growth = Growth()
        self.total_growth = Growth()
        self.processes = Processes()
        self.looked = self.read_at = time.time()
        self.busy_until = 0.0
        for metric in METRICS:
            if not re.search("_(statement|backend|lock|cpu)_", metric):
                self.counters.add(metric, 0, self.read_at)
        for lock in LOCKS:
            self.counters.add("postgresql_lock_seconds", 0, self.read_at, lock=lock)

    async def run(self) -> None:
        """Look at PostgreSQL for ever; connect again whenever it was away."""
        problem = ""
        while True:
            try:
                await self.connect()
                log("PostgreSQL answers.")
                problem = ""
                await self.look_repeatedly()
            except Exception as error:  # noqa: BLE001 - whatever happens, it tries again
                if problem != (problem := f"{type(error).__name__}: {error}"):
                    log(f"PostgreSQL does not answer ({problem}). Trying again every second.")
            connection, self.connection = self.connection, None
            if connection:
                connection.terminate()
            await asyncio.sleep(RETRY_SECONDS)

    async def connect(self) -> None:
        self.connection = await asyncpg.connect(
            DATABASE_URL,
            password=password(),
            ssl=False,
            timeout=TIMEOUT,
            command_timeout=TIMEOUT,
            server_settings={"application_name": "postgres-sampler"},
        )
        await self.read()

    async def look_repeatedly(self) -> None:
        assert self.connection is not None  # noqa: S101 - connected by `run`
        backends = await self.connection.prepare(BACKENDS)
        idle = True
        rows: list[asyncpg.Record] = []
        half_before = 0.0
        while True:
            asked = time.time()
            async with self.using:
                seen = await backends.fetch()
            # What happened during a pause of a second is unknown: it counts as a short one.
            now = (asked + time.time()) / 2
            half = (BUSY_SECONDS if idle else now - self.looked) / 2
            # Half of the time before and after a look: one that is late, because the machine is
            # busy with what it sees, would count too much with all the time before it.
            self.count(rows, half_before + half)
            self.note(seen, now)
            rows, half_before, self.looked = seen, half, now
            idle = now > self.busy_until
            # Not at regular intervals, which something periodic could hide between.
            busy_seconds = BUSY_SECONDS * random.uniform(0.6, 1.4)  # noqa: S311 - no secret
            await asyncio.sleep(IDLE_SECONDS if idle else busy_seconds)

    def note(self, rows: list[asyncpg.Record], now: float) -> None:
        """Learn which statements there are, and whether any was run lately."""
        self.counters.add("postgresql_samples", 1, self.looked)
        for sql, query_id, *_, recent, _ in rows:
            statement = self.known(describe(sql), self.looked)
            if query_id is not None:
                self.by_query_id[query_id] = statement
            # The API's own check of the connection has no table: it starts nothing.
            if recent and " " in statement[1]:
                self.busy_until = now + LINGER_SECONDS

    def count(self, rows: list[asyncpg.Record], seconds: float) -> None:
        """Count what a look saw of the API's backends, for so many seconds."""
        since = self.looked
        for sql, _, active, wait_type, wait_event, _, no_xid in rows:
            if not active:
                continue
            wait = wait_kind(wait_type, wait_event)
            self.add_backend_seconds(self.known(describe(sql), since), wait, seconds, since)
            if wait == LOCK:
                lock = wait_event if wait_event in LOCKS else "other"
                self.counters.add("postgresql_lock_seconds", seconds, since, lock=lock)
                # active_time begins anew at each message of the extended protocol, so it lacks
                # the wait for a table's lock before execution, when there is no transaction id.
                if lock == "relation" and no_xid:
                    self.counters.add("postgresql_active_seconds", seconds, since)

    def known(self, statement: Statement, since: float) -> Statement:
        """Return a statement, or `other` for one too many; create its counters at zero."""
        if statement not in self.statements:
            if len(self.statements) >= MAX_STATEMENTS:
                statement = OTHER
            self.statements.add(statement)
            self.add_execution(statement, 0, 0, since)
            for wait in WAITS:
                self.add_backend_seconds(statement, wait, 0, since)
        return statement

    def add_backend_seconds(
        self, statement: Statement, wait: str, seconds: float, since: float
    ) -> None:
        self.counters.add(
            "postgresql_backend_seconds", seconds, since, **labels(statement), wait=wait
        )

    def add_execution(
        self, statement: Statement, calls: float, seconds: float, since: float
    ) -> None:
        self.counters.add("postgresql_statement_calls", calls, since, **labels(statement))
        self.counters.add("postgresql_statement_seconds", seconds, since, **labels(statement))

    async def read(self) -> None:
        """Add what PostgreSQL's statistics have grown by since the last reading."""
        if self.connection is None:
            return
        async with self.using:
            (totals,) = await self.connection.fetch(TOTALS)
            statements = await self.connection.fetch(STATEMENTS)
            grown = self.statement_growth.update(
                {(query_id, since): tuple(values) for query_id, since, *values in statements}
            )
            unknown = [query_id for query_id, _ in grown if query_id not in self.by_query_id]
            texts = await self.connection.fetch(TEXTS, unknown) if unknown else []
        since, self.read_at = self.read_at, time.time()
        for query_id, sql in texts:
            self.by_query_id[query_id] = describe(sql)
        for (query_id, _), (calls, seconds) in grown.items():
            statement = self.known(self.by_query_id.get(query_id, OTHER), since)
            self.add_execution(statement, calls, seconds, since)
        await asyncio.to_thread(self.processes.read)
        self.counters.memory = self.processes.memory
        if self.processes.grown is not None:
            self.counters.add("postgresql_cpu_time_seconds", self.processes.grown, since)
        growth = self.total_growth.update({name: (value or 0,) for name, value in totals.items()})
        for metric, (value,) in growth.items():
            self.counters.add(metric, value, since)

    async def text(self) -> str:
        """Return the counters as they are now."""
        try:
            await self.read()
        except Exception as error:  # noqa: BLE001 - the next look finds the cause and connects again
            log(f"The statistics could not be read ({type(error).__name__}: {error}).")
        return self.counters.text()


def password() -> str:
    return PASSWORD_FILE.read_text().strip()


def labels(statement: Statement) -> dict[str, str]:
    return {"statement_id": statement[0], "statement": statement[1]}


def wait_kind(wait_type: str | None, wait_event: str | None) -> str:
    """Tell what an active backend does; what is no wait for others counts as executing."""
    if (wait_type, wait_event) in COMMIT_EVENTS:
        return COMMIT
    return {"Lock": LOCK, "Client": CLIENT}.get(wait_type or "", EXECUTING)


def refusal(headers: Message) -> HTTPStatus | None:
    """Return the status of a request from a web page, or for another host."""
    if any(name in headers for name in BROWSER_HEADERS):
        return HTTPStatus.FORBIDDEN
    hosts = headers.get_all("Host", [])
    # With DNS rebinding, Host has a name that is not one of this machine's.
    if len(hosts) != 1 or PORT_OF_HOST.sub("", hosts[0].strip().lower()) not in NAMES:
        return HTTPStatus.MISDIRECTED_REQUEST
    return None


def make_server(sampler: Sampler, loop: asyncio.AbstractEventLoop) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        """Answers a scrape; GET /healthz is the health check."""

        timeout = 10

        def do_GET(self) -> None:
            if refused := refusal(self.headers):
                self.respond(refused)
            elif self.path == "/metrics":
                future = asyncio.run_coroutine_threadsafe(sampler.text(), loop)
                self.respond(HTTPStatus.OK, future.result())
            elif self.path == "/healthz":
                connected = sampler.connection is not None
                self.respond(HTTPStatus.OK if connected else HTTPStatus.SERVICE_UNAVAILABLE)
            else:
                self.respond(HTTPStatus.NOT_FOUND)

        def respond(self, status: HTTPStatus, text: str = "") -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header(
                "Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8"
            )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log what happens to the connection only, not requests."""

    return ThreadingHTTPServer((HOST, PORT), Handler)


def log(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - its log is its output


async def main() -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    sampler = Sampler()
    with make_server(sampler, loop) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        log(f"Metrics are served at http://{HOST}:{PORT}/metrics.")
        sampling = asyncio.create_task(sampler.run())
        await stopped.wait()
        sampling.cancel()
        server.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
