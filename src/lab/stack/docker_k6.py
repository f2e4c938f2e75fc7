"""k6 in its container, with the settings that a native k6 gets.

Run as a program, it stops the container on Ctrl-C; `docker compose run` alone leaves k6 running.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from lab.errors import UserError
from lab.stack import compose
from lab.stack.config import HOST, StackConfig
from lab.stack.docker import DOCKER, Compose

SCRIPT = "/performance/k6-load-test.js"
# Where the script sends its spans; without it, nowhere.
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
# What the script reads from its environment, beside k6's own K6_*.
SCRIPT_VARIABLES = (
    "BASE_URL",
    "CLEANUP",
    "CLINIC_API_TOKEN",
    "CONFIRM_TARGET",
    "DURATION",
    "GENERATOR",
    "JOURNEY",
    TRACES_ENDPOINT,
    "PROFILE",
    "RATE",
    "RUN_ID",
    "TRACE_EVERY",
    "VUS",
)
# k6's default.
DASHBOARD_PORT = "5665"
LOCAL = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
API = "http://api:8000"
REMOTE_WRITE = "http://gateway:9090/api/v1/write"
TRACES = "http://gateway:4318/v1/traces"


def command(config: StackConfig, settings: Mapping[str, str], *arguments: str) -> list[str]:
    """Return the command that runs the project's script; secrets stay in the environment."""
    names = [it for it in sorted(settings) if it.startswith("K6_") or it in SCRIPT_VARIABLES]
    changed = [f"{name}={value}" for name, value in container_addresses(config, settings).items()]
    variables = [f"--env={variable}" for variable in (*names, *changed)]
    name = container_name(settings)
    options = ("--rm", "--no-deps", "--no-TTY", f"--name={name}", *published_ports(settings))
    run = ("run", *options, *variables, "k6")
    k6 = (*(arguments or ("run",)), SCRIPT)
    docker = Compose(config).command("--progress=quiet", *run, *k6)
    return [sys.executable, "-m", __name__, name, *docker]


def published_ports(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Publish the port of k6's own dashboard, if it serves one, on this machine alone."""
    if settings.get("K6_WEB_DASHBOARD") != "true":
        return ()
    port = settings.get("K6_WEB_DASHBOARD_PORT") or DASHBOARD_PORT
    return (f"--publish={HOST}:{port}:{port}",)


def container_name(settings: Mapping[str, str]) -> str:
    """Name the container of a run, or of one of its generators."""
    name = "-".join(filter(None, (settings["RUN_ID"], settings.get("GENERATOR"))))
    return f"vet-clinic-k6-{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}"


def pid(name: str) -> int | None:
    """Return the id of the container's process on this machine; None if it runs in another one."""
    inspected = subprocess.run(  # noqa: S603 - docker, from PATH
        [DOCKER, "inspect", "--format={{.State.Pid}}", name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # With Docker Desktop, the id is that of a process in its virtual machine.
    with suppress(OSError):
        if Path(f"/proc/{inspected.stdout.strip()}/comm").read_text().strip() == "k6":
            return int(inspected.stdout)
    return None


def version() -> str:
    """Return the version of k6's image."""
    return compose.tag(compose.services()["k6"]["image"])


def container_addresses(config: StackConfig, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that differ in the container, where 127.0.0.1 is the container."""
    addresses = {}
    target = settings["BASE_URL"]
    if target == config.api_url:
        addresses["BASE_URL"] = API
    elif LOCAL.fullmatch(urlsplit(target).hostname or ""):
        raise UserError(
            f"k6 runs in a container, where {target} is the container itself. "
            "Set STACK_BACKEND=native to run k6 on this machine; the report is the same."
        )
    else:
        # compose.yaml confirms the API of the stack; any other target the user confirms.
        addresses["CONFIRM_TARGET"] = settings.get("CONFIRM_TARGET", "")
    if settings.get("K6_PROMETHEUS_RW_SERVER_URL") == config.remote_write_url:
        addresses["K6_PROMETHEUS_RW_SERVER_URL"] = REMOTE_WRITE
    if settings.get(TRACES_ENDPOINT) == config.otlp_traces_endpoint:
        addresses[TRACES_ENDPOINT] = TRACES
    if settings.get("K6_WEB_DASHBOARD") == "true":
        addresses["K6_WEB_DASHBOARD_HOST"] = "0.0.0.0"  # noqa: S104 - of the container
    return addresses


def run_container(name: str, command: list[str]) -> int:
    """Run the container in a session of its own and pass each signal on to k6."""

    def pass_on(number: int, _: FrameType | None) -> None:
        subprocess.run(  # noqa: S603 - docker, from PATH
            [DOCKER, "kill", f"--signal={signal.Signals(number).name}", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    return subprocess.Popen(  # noqa: S603 - docker, from PATH
        command, stdin=subprocess.DEVNULL, start_new_session=True
    ).wait()


if __name__ == "__main__":
    sys.exit(run_container(sys.argv[1], sys.argv[2:]))
