"""k6 in its container, told the same as the one of this machine would be.

As a program it runs that container, for `docker compose run` leaves k6 behind on Ctrl-C.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from types import FrameType
from urllib.parse import urlsplit

import yaml

from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack.config import StackConfig
from lab.stack.docker_engine import DOCKER, Engine

PERFORMANCE = PROJECT / "performance"
SCRIPT = "/performance/k6-load-test.js"
LOCAL = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
API = "http://api:8000"
REMOTE_WRITE = "http://prometheus:9090/api/v1/write"


def command(config: StackConfig, settings: Mapping[str, str], *words: str) -> list[str]:
    """Give the command that runs the project's script; values go by the environment."""
    names = [name for name in sorted(settings) if name.startswith("K6_") or name in script_words()]
    passed = [word for name in names for word in ("--env", name)]
    moved = addresses(config, settings)
    passed += [word for name, value in moved.items() for word in ("--env", f"{name}={value}")]
    name = f"vet-clinic-k6-{re.sub(r'[^A-Za-z0-9_.-]', '-', settings['RUN_ID'])}"
    told = ("k6", *(words or ("run",)), SCRIPT)
    run = ("run", "--rm", "--no-deps", "--no-TTY", "--name", name, *passed, *told)
    compose = Engine(config).compose("--progress", "quiet", *run)
    return [sys.executable, "-m", __name__, name, *compose]


def version() -> str:
    """Read k6's version off its image."""
    services = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]
    return str(services["k6"]["image"]).rpartition(":")[2]


def addresses(config: StackConfig, settings: Mapping[str, str]) -> dict[str, str]:
    """Name the stack's parts as containers reach them; all else stays as it is given."""
    moved = {}
    target = settings["BASE_URL"]
    if target == config.api_url:
        moved["BASE_URL"] = API
    elif LOCAL.fullmatch(urlsplit(target).hostname or ""):
        raise UserError(
            f"k6 runs in a container, where {target} is the container itself. "
            "STACK_BACKEND=native runs k6 on this machine; the report is the same."
        )
    else:
        moved["CONFIRM_TARGET"] = settings.get("CONFIRM_TARGET", "")
    if settings.get("K6_PROMETHEUS_RW_SERVER_URL") == config.remote_write_url:
        moved["K6_PROMETHEUS_RW_SERVER_URL"] = REMOTE_WRITE
    return moved


def script_words() -> set[str]:
    """List the names that the script may ask its environment for."""
    sources = (path.read_text() for path in PERFORMANCE.rglob("*.js"))
    return {word for source in sources for word in re.findall(r"\b[A-Z][A-Z0-9_]+\b", source)}


def attend(name: str, command: list[str]) -> int:
    """Run the container out of the terminal's reach, and hand each signal to k6 itself."""

    def hand_on(number: int, _: FrameType | None) -> None:
        subprocess.run(  # noqa: S603 - docker, from PATH
            [DOCKER, "kill", f"--signal={signal.Signals(number).name}", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hand_on)
    return subprocess.Popen(  # noqa: S603 - docker, from PATH
        command, stdin=subprocess.DEVNULL, start_new_session=True
    ).wait()


if __name__ == "__main__":
    sys.exit(attend(sys.argv[1], sys.argv[2:]))
