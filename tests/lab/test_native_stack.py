"""The native stack: it starts and stops completely, and restarts what changed."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator

import httpx
import psutil
import pytest

from lab.paths import PROJECT
from lab.stack import postgres, programs
from lab.stack.config import HOST, claim
from lab.stack.ports import free_ports
from lab.stack.service import StartedStack, started_file
from tests.support.clinic import unique_email
from tests.support.native_stack import JUST, NativeStack, temporary_stack, until


@pytest.fixture
def stopped() -> Iterator[NativeStack]:
    with temporary_stack() as stack:
        yield stack


@pytest.fixture(scope="module")
def shared() -> Iterator[NativeStack]:
    with temporary_stack() as stack:
        yield stack


@pytest.fixture
def stack(shared: NativeStack) -> NativeStack:
    """Return the running stack of this module."""
    if not shared.supervisor.running():
        up = shared.run("up")
        assert up.returncode == 0, up.stdout + up.stderr
    return shared


def pids(stack: NativeStack) -> dict[str, int]:
    return {info["name"]: info["pid"] for info in stack.supervisor.call("getAllProcessInfo")}


def replaced(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name, pid in after.items() if pid != before.get(name)}


@pytest.mark.stack
def test_every_service_answers(stack: NativeStack) -> None:
    config = stack.config

    for url in (
        f"{config.api_url}/readyz",
        f"{config.prometheus_url}/-/ready",
        f"{config.alertmanager_url}/-/ready",
    ):
        assert httpx.get(url).status_code == 200
    status = stack.run("status")
    assert status.returncode == 0
    for service in (
        "postgres",
        "prometheus",
        "notifications",
        "node-exporter",
        "postgres-exporter",
        "postgres-sampler",
        "api",
    ):
        assert f"{service} " in status.stdout
    assert config.password_file.stat().st_mode & 0o777 == 0o600
    assert started_file(config).stat().st_mode & 0o777 == 0o600


@pytest.mark.stack
def test_node_exporter_reports_the_one_filesystem_of_the_data(stack: NativeStack) -> None:
    def free() -> list[float]:
        query = {"query": 'node_filesystem_avail_bytes{job="node"}'}
        response = httpx.get(f"{stack.config.prometheus_url}/api/v1/query", params=query)
        return [float(series["value"][1]) for series in response.json()["data"]["result"]]

    until(free)

    expected = psutil.disk_usage(str(stack.config.state)).free
    assert free() == [pytest.approx(expected, rel=0.1)]


@pytest.mark.stack
def test_logs_name_their_service(stack: NativeStack) -> None:
    times = [line[:8] for line in stack.run("logs").stdout.splitlines() if line[0].isdigit()]
    assert times == sorted(times)
    assert re.search(r"^\d\d:\d\d:\d\d prometheus: ", stack.run("logs").stdout, re.MULTILINE)
    assert stack.run("logs", "prometheus", "-n", "1").stdout.startswith("time=")
    unknown = stack.run("logs", "nothing")
    assert unknown.returncode == 1
    assert "alertmanager, api, " in unknown.stderr


@pytest.mark.stack
def test_up_changes_nothing_of_a_running_stack(stack: NativeStack) -> None:
    before = pids(stack)

    again = stack.run("up")

    assert again.returncode == 0
    assert "nothing changed" in again.stdout
    assert "`just load`" in again.stdout
    assert pids(stack) == before


@pytest.mark.stack
def test_up_starts_a_service_that_is_down(stack: NativeStack) -> None:
    stack.supervisor.call("stopProcess", "prometheus")
    before = pids(stack)
    status = stack.run("status")
    assert status.returncode == 1
    assert "down (stopped)" in status.stdout

    healed = stack.run("up")

    assert healed.returncode == 0, healed.stderr
    assert replaced(before, pids(stack)) == {"prometheus"}
    assert stack.run("status").returncode == 0


@pytest.mark.stack
def test_up_restarts_the_services_that_changed_and_says_why(stack: NativeStack) -> None:
    file = started_file(stack.config)
    started = json.loads(file.read_text())
    started["services"]["api"]["files"]["src/clinic/app.py"] = "the digest of older code"
    file.write_text(json.dumps(started))
    before = pids(stack)

    up = stack.run("up")

    assert up.returncode == 0, up.stderr
    assert replaced(before, pids(stack)) == {"api"}
    assert "src/clinic/app.py changed" in up.stdout
    assert "migrations " in up.stdout
    assert "nothing changed" in stack.run("up").stdout


@pytest.mark.stack
def test_up_gives_a_running_stack_of_an_earlier_version_the_role_of_the_api(
    stack: NativeStack,
) -> None:
    stack.config.api_password_file.unlink()
    before = pids(stack)

    up = stack.run("up")

    assert up.returncode == 0, up.stderr
    assert "the database's roles changed" in up.stdout
    assert replaced(before, pids(stack)) >= {"postgres", "api"}
    owner = {"name": "Ana", "email": unique_email()}
    assert httpx.post(f"{stack.config.api_url}/owners", json=owner).status_code == 201


@pytest.mark.stack
def test_restart_replaces_one_service(stack: NativeStack) -> None:
    before = pids(stack)

    restarted = stack.run("restart", "alertmanager")

    assert restarted.returncode == 0, restarted.stderr
    assert replaced(before, pids(stack)) == {"alertmanager"}
    assert httpx.get(f"{stack.config.alertmanager_url}/-/ready").status_code == 200
    unknown = stack.run("restart", "nothing")
    assert unknown.returncode == 1
    assert "postgres, gateway, prometheus, " in unknown.stderr


@pytest.mark.stack
def test_running_stack_cannot_be_moved_to_another_port(stack: NativeStack) -> None:
    refused = stack.run("up", CLINIC_PORT=str(free_ports(1)[0]))

    assert refused.returncode == 1
    assert f"already runs with CLINIC_PORT={stack.config.clinic_port}" in refused.stderr


@pytest.mark.stack
@pytest.mark.parametrize("killed", ["its supervisor", "all of it"])
def test_after_a_hard_stop_the_stack_comes_up_with_its_data(
    stack: NativeStack, killed: str
) -> None:
    """By then another process of PostgreSQL's user has the id that PostgreSQL had."""
    password = stack.config.password_file.read_text()
    pid_file = stack.config.state / "postgres" / "postmaster.pid"
    supervisor = psutil.Process(stack.supervisor.call("getPID"))
    everything = [supervisor, *supervisor.children(recursive=True)]
    for process in everything if killed == "all of it" else [supervisor]:
        process.kill()
    psutil.wait_procs(everything if killed == "all of it" else [supervisor], 30)
    other = subprocess.Popen(["sleep", "300"], user=postgres.user())
    if killed == "all of it":
        _, *lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(other.pid), *lines]) + "\n")

    up = stack.run("up")
    other.kill()
    other.wait()

    assert up.returncode == 0, up.stderr
    assert ("supervisor had been killed" in up.stderr) is (killed == "its supervisor")
    assert stack.config.password_file.read_text() == password


@pytest.mark.stack
def test_a_service_that_cannot_start_is_started_once_it_can(stack: NativeStack) -> None:
    log = stack.supervisor.log("supervisord")
    port = StartedStack.load(stack.config).internal_ports.alertmanager
    stack.supervisor.stop("alertmanager")
    failures = log.read_text().count("exited: alertmanager")
    with socket.create_server((HOST, port)):
        stack.supervisor.start("alertmanager")
        until(lambda: log.read_text().count("exited: alertmanager") > failures + 5, 60)

    until(lambda: stack.run("status").returncode == 0, 60)


@pytest.mark.stack
def test_down_leaves_the_data_and_no_process(stack: NativeStack) -> None:
    down = stack.run("down")

    assert down.returncode == 0
    assert "its data stays" in down.stdout
    assert stack.left_behind() == []
    assert (stack.config.state / "postgres" / "PG_VERSION").exists()
    assert stack.run("status").returncode == 1
    again = stack.run("down")
    assert again.returncode == 0
    assert "Nothing is running" in again.stdout
    assert stack.run("restart", "api").returncode == 1


def test_destroy_asks_and_then_removes_the_data(stopped: NativeStack) -> None:
    claim(stopped.config.state)
    stopped.config.password_file.touch()
    asked = stopped.run("destroy", answer="n\n")
    assert "Nothing was removed" in asked.stdout
    assert str(stopped.config.state) in asked.stdout
    assert stopped.config.password_file.exists()

    removed = stopped.run("destroy", answer="y\n")

    assert removed.returncode == 0, removed.stderr
    assert not stopped.config.state.exists()
    assert "no data to remove" in stopped.run("destroy").stdout


@pytest.mark.stack
def test_only_its_user_can_read_what_the_stack_writes(stack: NativeStack) -> None:
    state = stack.config.state
    readable = [
        path
        for path in (state, *state.rglob("*"))
        if not path.is_symlink() and not path.is_socket() and path.stat().st_mode & 0o066
    ]

    assert readable == []


@pytest.mark.stack
@pytest.mark.parametrize("variable", ["POSTGRES_PORT", "PROMETHEUS_PORT", "CLINIC_PORT"])
def test_taken_port_is_named_with_its_variable_and_process(
    stopped: NativeStack, variable: str
) -> None:
    port = int(stopped.environment[variable])
    with socket.create_server((HOST, port)):
        refused = stopped.run("up")

    assert refused.returncode == 1
    assert f"Port {port} is taken" in refused.stderr
    assert f"(process {os.getpid()})" in refused.stderr
    assert f"{variable}=" in refused.stderr
    assert stopped.left_behind() == []


@pytest.mark.stack
def test_service_that_exits_at_start_is_named_and_the_others_stop(stopped: NativeStack) -> None:
    claim(stopped.config.state)
    (stopped.config.state / "prometheus").mkdir()
    (stopped.config.state / "prometheus" / "data").write_text("not a directory")

    refused = stopped.run("up")

    assert refused.returncode == 1
    assert "prometheus did not start" in refused.stderr
    assert "not a directory" in refused.stderr, "a line of its log"
    assert "Traceback" not in refused.stderr
    assert stopped.left_behind() == []


def test_up_starts_nothing_if_the_api_refuses_its_settings(stopped: NativeStack) -> None:
    refused = stopped.run("up", CLINIC_API_TOKEN="short")

    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: CLINIC_API_TOKEN: ")
    assert refused.stdout == ""
    assert stopped.left_behind() == []


@pytest.mark.stack
def test_failed_migrations_stop_the_stack(stopped: NativeStack) -> None:
    assert stopped.run("up").returncode == 0
    changed = stopped.run("psql", "-c", "UPDATE alembic_versions SET version_num = 'unknown'")
    assert changed.stdout == "UPDATE 1\n"
    stopped.run("down")

    refused = stopped.run("up")

    assert refused.returncode == 1
    assert "The migrations failed (exit code 1)" in refused.stderr
    assert "another version of the API has migrated it" in refused.stderr
    assert stopped.left_behind() == []


@pytest.mark.stack
@pytest.mark.parametrize("stopped_by", ["Ctrl-C", "SIGTERM to just alone"])
def test_up_that_is_interrupted_leaves_nothing(stopped: NativeStack, stopped_by: str) -> None:
    programs.find("prometheus")
    with subprocess.Popen(
        [JUST, "up"],
        cwd=PROJECT,
        env=stopped.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("prometheus "):
            assert process.poll() is None
        if stopped_by == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        output = process.stdout.read()

    assert process.returncode == 130
    assert "Interrupted." in output
    assert "Traceback" not in output
    assert stopped.left_behind() == []


def test_sigterm_to_just_alone_ends_what_it_runs(stopped: NativeStack) -> None:
    claim(stopped.config.state)
    stopped.supervisor.logs.mkdir()
    stopped.supervisor.log("api").write_text("a line\n")
    with subprocess.Popen(
        [JUST, "logs", "-f"], cwd=PROJECT, env=stopped.environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, left = psutil.wait_procs(children, 30)

    assert children
    assert left == []


@pytest.mark.stack
def test_data_of_another_postgresql_is_not_touched(stopped: NativeStack) -> None:
    claim(stopped.config.state)
    data = stopped.config.state / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("17\n")

    refused = stopped.run("up")

    assert refused.returncode == 1
    assert "PostgreSQL 17; this is 18" in refused.stderr
    assert "`just backup clinic.dump`" in refused.stderr
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]
    assert stopped.left_behind() == []


def test_state_folder_that_cannot_be_written_is_named(stopped: NativeStack) -> None:
    stopped.config.state.parent.joinpath("file").touch()

    refused = stopped.run("up", CLINIC_STATE_DIR=str(stopped.config.state.parent / "file" / "x"))

    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr
    assert "CLINIC_STATE_DIR" in refused.stderr
