"""Real faults on the stack: the right alert is sent, and sent again when it is over.

The rules and routes are the delivered ones in a tenth of their time.
"""

import asyncio
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from threading import Event, Thread
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest

from lab.paths import PROJECT
from lab.stack import programs, services
from tests.support.accelerated_rules import OF_A_ROUTE, OF_A_RULE, compress, compress_file
from tests.support.native_stack import NativeStack, until

SENT_SECONDS = 150


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("for: 2m", "for: 12s"),
        ("rate(x[1m])", "rate(x[10s])"),
        ("y offset 10m15s", "y offset 61s"),
        ("a:http_server_requests:rate1m[3d]", "a:http_server_requests:rate1m[25920s]"),
        ('operation:error_budget_burn:1h{objective="x"} > 14.4', None),
        ("sum_over_time(x[1h]) * 15s >= 10", "sum_over_time(x[360s]) * 10s >= 10"),
        ("5s", "5s"),
    ],
)
def test_durations_are_shortened_and_names_are_not(text: str, shorter: str | None) -> None:
    assert compress(text) == (shorter or text)


def kept_of(file: Path) -> set[str]:
    """Leave the windows of load runs: they fit a run of minutes and k6's pushes already."""
    return {"expr"} if file.stem.endswith("load-run") else set()


class Alerted(NativeStack):
    """A stack whose alerts fire in a tenth of their time."""

    forgotten = 0
    store = "tempo" if programs.find_on_path("tempo") else "jaeger"

    def forget(self) -> None:
        """Look only at the notifications that come from now on."""
        self.forgotten = len(self.notifications())

    def up(self) -> None:
        up = self.run("up", OTEL_METRIC_EXPORT_INTERVAL="1000")
        assert up.returncode == 0, up.stdout + up.stderr
        rules = services.prometheus_config(self.config).parent / "rules"
        rules.unlink()
        rules.mkdir()
        for file in (services.PROMETHEUS_FOLDER / "rules").glob("*.yml"):
            compress_file(file, rules / file.name, OF_A_RULE - kept_of(file))
        routes = services.alertmanager_config(self.config)
        routes.unlink()
        compress_file(services.ALERTMANAGER_FOLDER / routes.name, routes, OF_A_ROUTE)
        for part in ("prometheus", "alertmanager"):
            os.kill(self.supervisor.process(part).pid, signal.SIGHUP)

    def notifications(self) -> list[dict[str, Any]]:
        file = services.notifications_file(self.config)
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def sent(self, name: str, status: str, **labels: str) -> bool:
        return any(
            notice["labels"]["alertname"] == name
            and notice["status"] == status
            and labels.items() <= notice["labels"].items()
            for notice in self.notifications()[self.forgotten :]
        )

    def is_sent(self, name: str, status: str, **labels: str) -> None:
        def so() -> bool:
            return self.sent(name, status, **labels)

        until(so, SENT_SECONDS)

    def just(self, *words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "lab", *words],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        self.supervisor.call("stopProcess", part)
        yield
        self.supervisor.call("startProcess", part)

    def sql(self, statement: str) -> None:
        async def run() -> None:
            url = self.config.database_url.replace("+asyncpg", "")
            connection = await asyncpg.connect(url)
            await connection.execute(statement)
            await connection.close()

        asyncio.run(run())

    @contextmanager
    def on_insert(self, table: str, statement: str) -> Iterator[None]:
        """Let PostgreSQL do something before each new row of a table."""
        self.sql(
            f"CREATE FUNCTION fault_{table}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {statement}; RETURN new; END $$; "
            f"CREATE TRIGGER fault BEFORE INSERT ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION fault_{table}()"
        )
        yield
        self.sql(f"DROP TRIGGER fault ON {table}")

    @contextmanager
    def visitors(self) -> Iterator[None]:
        """Register owners and pets meanwhile, as people do."""
        stop = Event()

        def visit() -> None:
            with httpx.Client(base_url=self.config.api_url, timeout=10) as client:
                while not stop.wait(random.uniform(0, 0.2)):  # noqa: S311 - how people come
                    owner = {"name": "Ana", "email": f"{secrets.token_hex(8)}@example.org"}
                    with suppress(httpx.HTTPError, KeyError):
                        owner_id = client.post("/owners", json=owner).json()["id"]
                        for _ in range(3):
                            client.post(
                                f"/owners/{owner_id}/pets", json={"name": "Luna", "species": "dog"}
                            )

        people = [Thread(target=visit) for _ in range(4)]
        for person in people:
            person.start()
        yield
        stop.set()
        for person in people:
            person.join()

    @contextmanager
    def load_run(self) -> Iterator[None]:
        command = [sys.executable, "-m", "lab", "run", "load"]
        settings = {"DURATION": "30s", "RATE": "10", "VUS": "20", "RUN": "20261124-alerts"}
        with subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**self.environment, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ):
            yield


@pytest.fixture(scope="module")
def alerted() -> Iterator[Alerted]:
    for program in ("k6", "prometheus", "alertmanager"):
        programs.find(program)
    folder = Path(mkdtemp(prefix="clinic-"))
    config = Alerted(folder / "state")
    try:
        config.up()
        yield config
    finally:
        config.run("down")
        left = config.left_behind()
        shutil.rmtree(folder)
    assert left == []


def activity(alerted: Alerted, name: str) -> set[str]:
    """Say what Prometheus makes of an alert."""
    said = httpx.get(f"{alerted.config.prometheus_url}/api/v1/alerts").json()["data"]["alerts"]
    return {alert["state"] for alert in said if alert["labels"]["alertname"] == name}


@pytest.mark.stack
def test_a_silence_keeps_quiet_until_it_is_ended(alerted: Alerted) -> None:
    alerted.is_sent("Watchdog", "firing")
    silenced = "TargetDown is silenced until"
    assert silenced in alerted.just("silence", "5m", "TargetDown")
    assert silenced in alerted.just("alerts")

    with alerted.without(alerted.store):
        alerted.just("silence", "5m", "TraceStoreDown")
        until(lambda: "firing" in activity(alerted, "TraceStoreDown"), SENT_SECONDS)
        until(lambda: "silenced" in alerted.just("alerts"))
        assert not alerted.sent("TraceStoreDown", "firing")
        assert alerted.just("unsilence").splitlines() == [
            "TargetDown is no longer silenced.",
            "TraceStoreDown is no longer silenced.",
        ]
        alerted.is_sent("TraceStoreDown", "firing")
    alerted.is_sent("TraceStoreDown", "resolved")
    assert "no longer" not in alerted.just("unsilence")


@pytest.mark.stack
def test_faults_call_and_are_over_and_a_load_test_calls_for_itself_alone(alerted: Alerted) -> None:
    alerted.forget()
    # A database that is away during a load run: the run's own alert is sent, the page is not.
    with alerted.load_run():
        until(lambda: "firing" in activity(alerted, "LoadTestRunning"), SENT_SECONDS)
        with alerted.without("postgres"):
            until(lambda: "firing" in activity(alerted, "DatabaseDown"), SENT_SECONDS)
            alerted.is_sent("LoadRunFailing", "firing", testid="20261124-alerts")
            assert not alerted.sent("DatabaseDown", "firing")
            shown = alerted.just("alerts")
            assert "inhibited" in shown
            assert "by LoadTestRunning" in shown
            # When the run is over it is.
            alerted.is_sent("DatabaseDown", "firing")
    alerted.is_sent("DatabaseDown", "resolved")
    assert not alerted.sent("LoadTestRunning", "firing")

    with alerted.without("api"):
        alerted.is_sent("ClinicDown", "firing")
    alerted.is_sent("ClinicDown", "resolved")

    with alerted.visitors():
        with (
            alerted.on_insert("owner", "PERFORM pg_sleep(0.4)"),
            alerted.on_insert("pet", "IF random() < 0.1 THEN RAISE 'a fault'; END IF"),
        ):
            alerted.is_sent("LatencyBudgetBurn", "firing", operation="POST /owners")
            pets = "POST /owners/{owner_id}/pets"
            alerted.is_sent("AvailabilityBudgetBurn", "firing", operation=pets)
            assert "LatencyBudgetBurn" in alerted.just("alerts")
        alerted.is_sent("LatencyBudgetBurn", "resolved", operation="POST /owners", window="1h")
        alerted.is_sent("AvailabilityBudgetBurn", "resolved", operation=pets)
