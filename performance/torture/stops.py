"""Stops in order, stops while something is out of order, and stops by SIGKILL."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import astuple

import httpx
import psutil

from lab.clients.prometheus import Prometheus
from lab.paths import PROJECT
from lab.promql.selectors import SPAN_CALLS
from lab.stack import compose, postgres
from lab.stack.config import HOST
from lab.stack.ports import is_taken
from lab.stack.service import StartedStack
from performance.stack import Stack
from performance.torture.part import Context, Figures, Part, Result
from performance.torture.writer import writing

STOPS = 10
CLIENTS = 20
LOAD_SECONDS = 2.0
LONG_REQUEST_SECONDS = 9.0
HARD_STOPS = 4
SPAN_SECONDS = 60
TIMEOUT = 60
STATED_SECONDS = compose.stop_seconds("api")
REQUEST = b"GET /owners?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLOW = """
CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(%s); RETURN new; END $$;
CREATE OR REPLACE TRIGGER slow BEFORE INSERT ON owner FOR EACH ROW EXECUTE FUNCTION slow()
"""
SERVER_SPANS = (
    f"sum(last_over_time({SPAN_CALLS}"
    '{span_kind="SPAN_KIND_SERVER",clinic_operation="GET /owners"}[1h]))'
)


def stop_under_load(context: Context) -> Result:
    """Stop the API again and again while busy clients keep their connections open."""
    stack = context.stack
    port = stack.config.clinic_port

    async def stop_once() -> tuple[list[int], float]:
        clients = [asyncio.create_task(send_until_closed(port)) for _ in range(CLIENTS)]
        await asyncio.sleep(context.seconds(LOAD_SECONDS))
        seconds = await asyncio.to_thread(stack.native.supervisor.stop, "api")
        answered = await asyncio.gather(*clients, return_exceptions=True)
        return [it if isinstance(it, int) else -1 for it in answered], seconds or 0.0

    requests, failed, longest = 0, 0, 0.0
    for _ in range(context.times(STOPS)):
        answered, seconds = asyncio.run(stop_once())
        requests += sum(it for it in answered if it > 0)
        failed += answered.count(-1)
        longest = max(longest, seconds)
        stack.native.supervisor.start("api")
        stack.wait_until_ready("api")
    stored = wait_for_server_spans(stack, requests)
    figures: Figures = {
        "stops": context.times(STOPS),
        "requests": requests,
        "failed connections": failed,
        "server spans stored": stored,
        "longest stop in s": round(longest, 2),
    }
    passed = not failed and stored == requests and longest < STATED_SECONDS
    return Result(passed, figures)


async def send_until_closed(port: int) -> int:
    """Send one request after the other on a connection; return how many were answered.

    A failed request raises.
    """
    reader, writer = await asyncio.open_connection(HOST, port)
    answered, is_closing = 0, False
    while not is_closing:
        writer.write(REQUEST)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise ConnectionError(head)
        _, _, length = head.partition(b"content-length: ")
        await reader.readexactly(int(length.partition(b"\r\n")[0]))
        answered += 1
        is_closing = b"connection: close" in head
    writer.close()
    return answered


def wait_for_server_spans(stack: Stack, expected: int) -> int:
    deadline = time.monotonic() + SPAN_SECONDS
    with Prometheus(stack.config.prometheus_url) as prometheus:
        while True:
            stored = round(prometheus.number(SERVER_SPANS, time.time()) or 0)
            if stored >= expected or time.monotonic() > deadline:
                return stored
            time.sleep(1)


def stop_during_slow_requests(context: Context) -> Result:
    """Stop the API, with two signals, while requests wait for PostgreSQL."""
    stack = context.stack

    async def stop(seconds: float) -> tuple[float, list[int]]:
        await asyncio.to_thread(stack.execute, SLOW % seconds)
        requests = asyncio.gather(*(register(stack) for _ in range(5)))
        await asyncio.sleep(0.5)
        return await stop_twice(stack), await requests

    slow_seconds, slow = asyncio.run(stop(LONG_REQUEST_SECONDS))
    stack.native.supervisor.start("api")
    stack.wait_until_ready("api")
    slower_seconds, slower = asyncio.run(stop(LONG_REQUEST_SECONDS + 3))
    figures: Figures = {
        "statuses after 9 s": " ".join(map(str, slow)),
        "stop in s": round(slow_seconds, 2),
        "statuses after 12 s": " ".join(map(str, slower)),
        "its stop in s": round(slower_seconds, 2),
        "stated s": STATED_SECONDS,
    }
    passed = set(slow) == {201} and set(slower) == {503}
    return Result(passed and max(slow_seconds, slower_seconds) < STATED_SECONDS, figures)


async def stop_twice(stack: Stack) -> float:
    """Send SIGTERM twice; return the seconds until the API has ended."""
    api = stack.process("api")
    stopping = asyncio.create_task(asyncio.to_thread(stack.native.supervisor.stop, "api"))
    await asyncio.sleep(0.3)
    api.terminate()
    return await stopping or 0.0


async def register(stack: Stack) -> int:
    """Return the status of a new owner, 0 if there is no answer."""
    body = {"name": "Ana", "email": f"{os.urandom(8).hex()}@example.org"}
    try:
        async with httpx.AsyncClient(base_url=stack.config.api_url, timeout=TIMEOUT) as client:
            return (await client.post("/owners", json=body)).status_code
    except httpx.TransportError:
        return 0


def stop_without_database(context: Context) -> Result:
    """Stop the API while PostgreSQL is halted, and while it is away."""
    stack = context.stack
    server = stack.process("postgres")
    processes = [server, *server.children(recursive=True)]

    async def stop(begin: Callable[[], object]) -> tuple[list[int], float]:
        begin()
        requests = asyncio.gather(*(register(stack) for _ in range(5)))
        await asyncio.sleep(0.5)
        stopping = asyncio.create_task(asyncio.to_thread(stack.native.supervisor.stop, "api"))
        return await requests, await stopping or 0.0

    def halt() -> None:
        for process in processes:
            process.suspend()

    halted, halted_seconds = asyncio.run(stop(halt))
    for process in processes:
        if process.is_running():
            process.resume()
    stack.native.supervisor.start("api")
    stack.wait_until_ready("api")
    away, away_seconds = asyncio.run(stop(lambda: stack.native.supervisor.stop("postgres")))
    figures: Figures = {
        "statuses while halted": " ".join(map(str, halted)),
        "stop in s": round(halted_seconds, 2),
        "statuses while away": " ".join(map(str, away)),
        "its stop in s": round(away_seconds, 2),
        "stated s": STATED_SECONDS,
    }
    passed = {*halted, *away} == {503} and max(halted_seconds, away_seconds) < STATED_SECONDS
    return Result(passed, figures)


def hard_stop(context: Context) -> Result:
    """Kill all processes of the stack at once, again and again while clients write, and start it.

    The second time another process has the id of the killed PostgreSQL.
    """
    stack = context.stack
    pid_file = postgres.data_directory(stack.config) / "postmaster.pid"
    times = max(context.times(HARD_STOPS), 2)
    seconds: list[float] = []

    def kill_and_start(number: int) -> None:
        supervisor = psutil.Process(stack.native.supervisor.call("getPID"))
        processes = [supervisor, *supervisor.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, TIMEOUT)
        with subprocess.Popen(["sleep", "600"], user=postgres.user()) as other:  # noqa: S607
            if number % 2:
                _, *lines = pid_file.read_text().splitlines()
                pid_file.write_text("\n".join([str(other.pid), *lines]) + "\n")
            started = time.monotonic()
            try:
                stack.up()
            finally:
                other.kill()
        seconds.append(time.monotonic() - started)

    async def run() -> tuple[int, int, int]:
        async with writing(stack.config.api_url, per_second=20) as ledger:
            for number in range(times):
                await asyncio.sleep(context.seconds(5))
                await asyncio.to_thread(kill_and_start, number)
            await asyncio.sleep(context.seconds(5))
        connection = await stack.connect()
        comparison = await ledger.compare(connection)
        await connection.close()
        return comparison.acknowledged, comparison.missing, comparison.unknown

    acknowledged, missing, unknown = asyncio.run(run())
    figures: Figures = {
        "hard stops": times,
        "rows acknowledged": acknowledged,
        "rows missing": missing,
        "requests without answer": unknown,
        "longest `just up` in s": round(max(seconds), 1),
    }
    return Result(not missing and not unknown, figures)


def stop_stack(context: Context) -> Result:
    """`just down` under load leaves no process, port or socket."""
    stack = context.stack
    internal = StartedStack.load(stack.config).internal_ports
    listening = {**stack.config.ports, **{str(port): port for port in astuple(internal)}}
    supervisor = psutil.Process(stack.native.supervisor.call("getPID"))
    processes = [supervisor, *supervisor.children(recursive=True)]
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "run", "smoke", "--without-prometheus"],
        cwd=PROJECT,
        env=stack.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as load:
        time.sleep(5)
        started = time.monotonic()
        stack.run("down")
        seconds = time.monotonic() - started
        load.send_signal(signal.SIGTERM)
    alive = [process for process in processes if process.is_running()]
    taken = [name for name, port in listening.items() if is_taken(port)]
    figures: Figures = {
        "processes before": len(processes),
        "processes left": len(alive) + len(stack.native.supervisor.orphans()),
        "ports left": len(taken),
        "sockets left": int(stack.native.supervisor.socket.exists()),
        "s": round(seconds, 1),
    }
    passed = not (alive or taken or figures["sockets left"] or figures["processes left"])
    return Result(passed, figures)


PARTS = [
    Part(
        "stop-under-load",
        "SIGTERM to the API fails no request of open connections and loses no span",
        1.5,
        stop_under_load,
    ),
    Part(
        "stop-slow-requests",
        "Two SIGTERM: requests of 9 s are answered, longer ones get 503, all in the stated time",
        1.5,
        stop_during_slow_requests,
    ),
    Part(
        "stop-without-database",
        "SIGTERM while PostgreSQL is halted or away: 503, and an end in the stated time",
        1.5,
        stop_without_database,
    ),
    Part(
        "stop-stack",
        "`just down` under load leaves no process, no port and no socket",
        1,
        stop_stack,
    ),
    Part(
        "hard-stop",
        "SIGKILL of everything, also with a reused process id: `just up` starts it with all rows",
        2.5,
        hard_stop,
    ),
]
