"""Start k6 under a run's id, with its numbers sent to Prometheus, and hand its status back."""

import re
import signal
import subprocess
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from types import FrameType
from urllib.parse import urlsplit

import httpx

from lab import slo
from lab.errors import UserError
from lab.paths import PERFORMANCE

SCRIPT = PERFORMANCE / "k6-load-test.js"
PROFILES = slo.PROFILES
JOURNEYS = ("book", "browse", "cancel", "mixed")

RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# host.docker.internal is what a container calls its own machine.
LOCAL = re.compile(r"localhost|host\.docker\.internal|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
K6_ENV = PERFORMANCE / "k6.env"
REMOTE_WRITE = "experimental-prometheus-rw"
# Labels that k6, its script or the wrapper set.
TAKEN = frozenset(
    {"testid", "name", "scenario", "status", "expected_response", "check", "error_code"}
    | {"journey", "profile", "operation", "kind", "instance", "metric", "threshold"}
)

INSTEAD_OF_A_PROFILE = ("K6_VUS", "K6_DURATION", "K6_ITERATIONS", "K6_STAGES")

INTERRUPTED = 105
MEANING = {
    0: "every threshold held",
    97: "k6 could not reach Grafana Cloud",
    99: "a threshold was crossed",
    104: "k6 refused its configuration",
    INTERRUPTED: "the run was interrupted",
    107: "the script failed, see k6's message above",
    108: "the script stopped the run, see k6's message above",
    110: "the script marked the run as failed",
}
# Ctrl-C reaches this process by the terminal and, a little later, by whoever started it.
ONE_CTRL_C = 0.5


class TargetError(UserError):
    """The clinic is not ready for a load; the message says what to do."""


def new_run_id(profile: str) -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{profile}"


def given_run_id(run: str) -> str:
    """Take a run id given by hand, or raise: it becomes a label, and an entry of baggage."""
    if not RUN_ID.fullmatch(run):
        raise UserError(f"RUN is {run!r}; expected 1 to 64 of the characters A-Z a-z 0-9 . _ : -")
    return run


def check_unused(run: str, known: Collection[str]) -> None:
    """Raise if there is such a run: two under one id could not be told apart."""
    if run in known:
        raise UserError(
            f"Prometheus already holds a run called {run}: give another RUN, or leave it out."
        )


def labels(tags: str) -> dict[str, str]:
    """Read K6_TAGS in either form, `env=qa,owner=me` or k6's own `env:qa,owner:me`."""
    read = {}
    for tag in filter(None, (part.strip() for part in tags.split(","))):
        found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)\s*[=:]\s*([^\s:][^:]*)", tag)
        if not found:
            raise UserError(
                f"K6_TAGS has {tag!r}; expected names and values such as env=qa,owner=me, without "
                "colons in a value"
            )
        if found[1] in TAKEN or found[1].startswith(("__", "k6_")):
            raise UserError(
                f"K6_TAGS names {found[1]!r}, a label that the run's own numbers carry: "
                "choose another name."
            )
        read[found[1]] = found[2]
    return read


def check_target(url: str, settings: Mapping[str, str]) -> None:
    """Raise unless the clinic is ready, and is this machine's or confirmed to be meant."""
    host = urlsplit(url).hostname or ""
    if not LOCAL.fullmatch(host) and settings.get("CONFIRM_TARGET") != "1":
        raise TargetError(
            f"BASE_URL is {url}, which is not this machine, and a load can bring it down. If you "
            "may put a load on it, say so by CONFIRM_TARGET=1. No load was sent."
        )
    try:
        answer = httpx.get(f"{url}/readyz", timeout=10.0)
    except (httpx.HTTPError, httpx.InvalidURL):
        raise TargetError(
            f"The clinic does not answer at {url}: is the stack up? `just up`, or set BASE_URL."
        ) from None
    if answer.status_code != httpx.codes.OK:
        raise TargetError(
            f"The clinic at {url} is not ready (GET /readyz gave {answer.status_code}, expected "
            f"200): see `just status`. It said: {answer.text[:200]!r}"
        )


def check_environment(settings: Mapping[str, str]) -> None:
    """Raise if k6 would take something else from the environment in place of the profile."""
    instead = [name for name in INSTEAD_OF_A_PROFILE if settings.get(name)]
    if instead:
        raise UserError(
            f"{' and '.join(instead)} in the environment would replace the profile's scenario "
            "without a word: unset it, or run k6 by hand."
        )


def remote_write(given: Mapping[str, str], bundles: str) -> str | None:
    """Say where the numbers go: to the given address or the stack's; nowhere by other outputs."""
    out = given.get("K6_OUT")
    if out and REMOTE_WRITE not in out.split(","):
        return None
    return given.get("K6_PROMETHEUS_RW_SERVER_URL") or bundles


def k6_env() -> dict[str, str]:
    """Read the settings that every run shares."""
    lines = K6_ENV.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def k6_settings(
    run_id: str, profile: str, target: str, remote_write_url: str | None, given: Mapping[str, str]
) -> dict[str, str]:
    """Return k6's variables for a run; those `given` win over k6.env and the address."""
    address = (
        {"K6_PROMETHEUS_RW_SERVER_URL": remote_write_url} if remote_write_url else {"K6_OUT": ""}
    )
    settings = {name: given.get(name) or value for name, value in (k6_env() | address).items()}
    if given.get("K6_TAGS"):
        tags = labels(given["K6_TAGS"])
        settings["K6_TAGS"] = ",".join(f"{name}:{value}" for name, value in tags.items())
    return settings | {"BASE_URL": target, "PROFILE": profile, "RUN_ID": run_id}


def place(environment: Mapping[str, str]) -> str:
    """Name where the numbers went, without a password that an address may hold."""
    if REMOTE_WRITE not in environment["K6_OUT"].split(","):
        return environment["K6_OUT"]
    url = urlsplit(environment["K6_PROMETHEUS_RW_SERVER_URL"])
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="").geturl()


def run_k6(command: list[str], settings: dict[str, str]) -> int:
    """Run the script in this terminal; Ctrl-C asks k6 to end with its summary, again to quit."""
    process = subprocess.Popen(  # noqa: S603 - k6, on the project's own script
        command,
        env=settings,
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    passed = {signal.SIGINT: 0.0, signal.SIGTERM: 0.0}

    def hand_on(number: int, _: FrameType | None) -> None:
        last, passed[signal.Signals(number)] = passed[signal.Signals(number)], time.monotonic()
        if process.poll() is None and time.monotonic() - last > ONE_CTRL_C:
            process.send_signal(number)

    def resize(number: int, _: FrameType | None) -> None:
        if process.poll() is None:
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in passed}
    before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, resize)
    try:
        status = process.wait()
        while time.monotonic() - max(passed.values()) < ONE_CTRL_C:
            time.sleep(0.1)
        return status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say_status(status: int) -> str:
    """Say in words what k6's exit status means."""
    if status < 0:
        return f"k6 was ended by {signal.Signals(-status).name}."
    return f"k6 ended with status {status}: {MEANING.get(status, 'see its message above')}."
