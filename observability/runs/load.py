"""Start k6 under a run's id, with its numbers sent to Prometheus, and hand its status back."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click
import httpx

from observability.runs.numbers import PUSH_INTERVAL

SCRIPT = Path(__file__).parents[2] / "performance" / "k6-load-test.js"
PROFILES = ("smoke", "load", "stress")

# Those that the report's queries read, and the two that say why something failed: every further
# tag multiplies the series.
SYSTEM_TAGS = "status,name,scenario,expected_response,check,error_code"

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
# Ctrl-C reaches this process by the terminal and by whoever started it: once for k6.
ONE_CTRL_C = 0.5


class TargetError(click.ClickException):
    """The clinic is not ready for a load; the message says what to do."""


def new_run_id(profile: str) -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{profile}"


def check_target(url: str) -> None:
    """Raise unless the clinic is ready."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=10.0)
    except (httpx.HTTPError, httpx.InvalidURL):
        raise TargetError(
            f"The clinic does not answer at {url}: is the bundle up? `just up`, or set BASE_URL."
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
        raise click.ClickException(
            f"{' and '.join(instead)} in the environment would replace the profile's scenario "
            "without a word: unset it, or run k6 by hand."
        )


def environment(run: str, profile: str, target: str, remote_write: str | None) -> dict[str, str]:
    """Make k6's environment: this one's, what names the run, and where its numbers go."""
    settings = {
        "BASE_URL": target,
        "PROFILE": profile,
        "RUN_ID": run,
        "K6_NO_USAGE_REPORT": "true",
        "K6_AUTO_EXTENSION_RESOLUTION": "false",
        "K6_SYSTEM_TAGS": SYSTEM_TAGS,
    }
    if remote_write:
        settings |= {
            "K6_OUT": "experimental-prometheus-rw",
            "K6_FEATURES": "native-histograms,merge-run-tags",
            "K6_PROMETHEUS_RW_SERVER_URL": remote_write,
            "K6_PROMETHEUS_RW_PUSH_INTERVAL": f"{PUSH_INTERVAL:.0f}s",
            "K6_PROMETHEUS_RW_STALE_MARKERS": "true",
        }
    return os.environ | settings


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
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say_status(status: int) -> str:
    """Say in words what k6's exit status means."""
    if status < 0:
        return f"k6 was ended by {signal.Signals(-status).name}."
    return f"k6 ended with status {status}: {MEANING.get(status, 'see its message above')}."
