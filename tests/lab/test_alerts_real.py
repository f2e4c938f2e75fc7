"""Real faults on the stack: the right alert is sent when one occurs and when it is over.

The rules and routes are the delivered ones with all durations divided by ten.
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
from tests.support.accelerated_rules import ROUTE_SETTINGS, RULE_SETTINGS, compress_file
from tests.support.native_stack import NativeStack, until

SENT_SECONDS = 150


class Alerted(NativeStack):
    """A stack whose alerts fire in a tenth of the usual time."""

    forgotten = 0
    store = "tempo" if programs.find_on_path("tempo") else "jaeger"

    def forget(self) -> None:
        """Ignore the notifications so far."""
        self.forgotten = len(self.notifications())

    def up(self) -> None:
        up = self.run("up", OTEL_METRIC_EXPORT_INTERVAL="1000")
        assert up.returncode == 0, up.stdout + up.stderr
        rules = services.prometheus_config(self.config).parent / "rules"
        rules.unlink()
        rules.mkdir()
        for file in (services.PROMETHEUS_FOLDER / "rules").glob("*.yml"):
            # The windows of load runs suit runs of minutes already.
            unchanged = {"expr"} if file.stem.endswith("load-run") else set()
            compress_file(file, rules / file.name, RULE_SETTINGS - unchanged)
        routes = services.alertmanager_config(self.config)
        routes.unlink()
        compress_file(services.ALERTMANAGER_FOLDER / routes.name, routes, ROUTE_SETTINGS)
        for service in ("prometheus", "alertmanager"):
            os.kill(self.supervisor.process(service).pid, signal.SIGHUP)

    def notifications(self) -> list[dict[str, Any]]:
        file = services.notifications_file(self.config)
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def sent(self, name: str, status: str, **labels: str) -> bool:
        return any(
            notification["labels"]["alertname"] == name
            and notification["status"] == status
            and labels.items() <= notification["labels"].items()
            for notification in self.notifications()[self.forgotten :]
        )

    def is_sent(self, name: str, status: str, **labels: str) -> None:
        until(lambda: self.sent(name, status, **labels), SENT_SECONDS)

    def just(self, *words: str) -> str:
        answer = self.run(*words)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    @contextmanager
    def without(self, service: str) -> Iterator[None]:
        self.supervisor.call("stopProcess", service)
        yield
        self.supervisor.call("startProcess", service)

    def sql(self, statement: str) -> None:
        async def run() -> None:
            url = self.config.database_url.replace("+asyncpg", "")
            connection = await asyncpg.connect(url)
            await connection.execute(statement)
            await connection.close()

        asyncio.run(run())

    @contextmanager
    def on_insert(self, table: str, statement: str) -> Iterator[None]:
        """Let PostgreSQL execute a statement before each INSERT into a table."""
        self.sql(
            f"CREATE FUNCTION fault_{table}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {statement}; RETURN new; END $$; "
            f"CREATE TRIGGER fault BEFORE INSERT ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION fault_{table}()"
        )
        yield
        self.sql(f"DROP FUNCTION fault_{table} CASCADE")

    @contextmanager
    def visitors(self) -> Iterator[None]:
        """Register owners and pets at random intervals."""
        stop = Event()

        def visit() -> None:
            with httpx.Client(base_url=self.config.api_url, timeout=10) as client:
                while not stop.wait(random.uniform(0, 0.2)):  # noqa: S311 - not for security
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
        try:
            yield
        finally:
            stop.set()
            for person in people:
                person.join()

    @contextmanager
    def load_run(self) -> Iterator[None]:
        command = [sys.executable, "-m", "lab", "run", "load"]
        settings = {"DURATION": "10m", "RATE": "10", "VUS": "20", "RUN": "20261124-alerts"}
        with subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**self.environment, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def alerted() -> Iterator[Alerted]:
    for program in ("k6", "prometheus", "alertmanager"):
        programs.find(program)
    folder = Path(mkdtemp(prefix="clinic-"))
    config = Alerted(folder / "state")
    config.environment["CLINIC_RESULTS_DIR"] = str(folder / "results")
    try:
        config.up()
        yield config
    finally:
        config.run("down")
        left = config.left_behind()
        shutil.rmtree(folder)
    assert left == []


def activity(alerted: Alerted, name: str) -> set[str]:
    """Return the states of an alert in Prometheus."""
    active = httpx.get(f"{alerted.config.prometheus_url}/api/v1/alerts").json()["data"]["alerts"]
    return {alert["state"] for alert in active if alert["labels"]["alertname"] == name}


@pytest.mark.stack
def test_a_notification_links_to_the_runbook_and_to_a_panel(alerted: Alerted) -> None:
    alerted.is_sent("Watchdog", "firing")
    links = alerted.notifications()[0]["annotations"]

    runbook = httpx.get(links["runbook_url"])

    assert runbook.headers["Content-Type"].startswith("text/html")
    assert '<h3 id="watchdog">' in runbook.text
    grafana = f"{alerted.config.grafana_url}/d/"
    alerts = f"{alerted.config.prometheus_url}/alerts#/d/"
    assert links["dashboard_url"].startswith(grafana if shutil.which("grafana") else alerts)


@pytest.mark.stack
def test_alerts_are_listed_without_alertmanager(alerted: Alerted) -> None:
    with alerted.without("alertmanager"):
        until(lambda: "firing" in activity(alerted, "TargetDown"), SENT_SECONDS)
        answer = alerted.run("alerts")
    until(lambda: alerted.run("alerts").returncode == 0, SENT_SECONDS)

    assert answer.returncode == 1
    assert "TargetDown" in answer.stdout
    assert "not sent" in answer.stdout
    assert "Alertmanager does not answer" in answer.stderr
    assert "Nobody is notified of alerts." in answer.stderr


@pytest.mark.stack
def test_a_silenced_alert_is_sent_once_the_silence_ends(alerted: Alerted) -> None:
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
def test_faults_are_sent_and_resolved_unless_a_load_test_runs(
    alerted: Alerted,
) -> None:
    alerted.forget()
    # While a load test runs, what it may cause is not sent; its own alerts and an outage are.
    with alerted.load_run():
        until(lambda: "firing" in activity(alerted, "LoadTestRunning"), SENT_SECONDS)
        with alerted.on_insert("owner", "PERFORM pg_sleep(60)"):
            until(lambda: "firing" in activity(alerted, "PoolExhausted"), SENT_SECONDS)
            until(lambda: "by LoadTestRunning" in alerted.just("alerts"))
            assert not alerted.sent("PoolExhausted", "firing")
        alerted.is_sent("LoadRunFailing", "firing", testid="20261124-alerts")
        assert not alerted.sent("DatabaseDown", "firing")
        with alerted.without("postgres"):
            alerted.is_sent("DatabaseDown", "firing")
            assert "firing" in activity(alerted, "LoadTestRunning")
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
