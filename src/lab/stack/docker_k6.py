"""k6 in its container, with the settings that a native k6 gets.

Run as a program, it stops the container on Ctrl-C; `docker compose run` alone leaves k6 running.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from types import FrameType
from urllib.parse import urlsplit

from lab.errors import UserError
from lab.stack import compose
from lab.stack.config import StackConfig
from lab.stack.docker import DOCKER, Compose

SCRIPT = "/performance/k6-load-test.js"
# What the script reads from its environment, beside k6's own K6_*.
SCRIPT_VARIABLES = (
    "BASE_URL",
    "CLEANUP",
    "CLINIC_API_TOKEN",
    "CONFIRM_TARGET",
    "DURATION",
    "GENERATOR",
    "JOURNEY",
    "PROFILE",
    "RATE",
    "RUN_ID",
    "VUS",
)
LOCAL = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
API = "http://api:8000"
REMOTE_WRITE = "http://prometheus:9090/api/v1/write"


def command(config: StackConfig, settings: Mapping[str, str], *arguments: str) -> list[str]:
    """Return the command that runs the project's script; secrets stay in the environment."""
    names = [it for it in sorted(settings) if it.startswith("K6_") or it in SCRIPT_VARIABLES]
    changed = [f"{name}={value}" for name, value in container_addresses(config, settings).items()]
    variables = [f"--env={variable}" for variable in (*names, *changed)]
    name = f"vet-clinic-k6-{re.sub(r'[^A-Za-z0-9_.-]', '-', settings['RUN_ID'])}"
    run = ("run", "--rm", "--no-deps", "--no-TTY", f"--name={name}", *variables, "k6")
    k6 = (*(arguments or ("run",)), SCRIPT)
    docker = Compose(config).command("--progress=quiet", *run, *k6)
    return [sys.executable, "-m", __name__, name, *docker]


def version() -> str:
    """Return the version of k6's image."""
    return str(compose.services()["k6"]["image"]).rpartition(":")[2]


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
