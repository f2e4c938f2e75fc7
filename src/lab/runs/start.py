"""Start a load test: check that it may and can run, run k6, and return its status."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from urllib.parse import urlsplit

import httpx
import msgspec

from lab import slo
from lab.clients.prometheus import Prometheus
from lab.errors import UserError
from lab.promql import run_list
from lab.runs import k6
from lab.runs.environment import OtherCpu, read_environment
from lab.runs.record import Environment
from lab.stack.config import StackConfig

PROFILES = slo.PROFILES
JOURNEYS = ("book", "browse", "cancel", "mixed")

RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# A container reaches its own machine as host.docker.internal.
LOCAL = re.compile(r"localhost|host\.docker\.internal|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
# Variables by which k6 would replace the profile's scenario.
REPLACES_PROFILE = ("K6_VUS", "K6_DURATION", "K6_ITERATIONS", "K6_STAGES")
# One Ctrl-C arrives twice: from the terminal, and a little later from the parent process.
CTRL_C_SECONDS = 0.5


class TargetError(UserError):
    """The API is not ready for a load test; the message says what to do."""


@dataclass(frozen=True)
class LoadTest:
    """A run of k6 that is ready to start."""

    run_id: str
    target: str
    command: list[str]
    settings: dict[str, str]
    environment: Environment | None
    """None if the stack's Prometheus does not get the run's metrics."""


def prepare(
    config: StackConfig, profile: str, journey: str, *, without_prometheus: bool
) -> LoadTest:
    """Read the environment variables of a run and check everything that it needs."""
    given = os.environ
    check_profile_variables(given)
    run_id = check_run_id(given["RUN"]) if given.get("RUN") else new_run_id(profile)
    target = (given.get("BASE_URL") or config.api_url).rstrip("/")
    url = None if without_prometheus else k6.remote_write_url(given, config.remote_write_url)
    settings = {**given, "JOURNEY": journey} | k6.run_settings(run_id, profile, target, url, given)
    check_target(target, confirmed=given.get("CONFIRM_TARGET") == "1")
    command = k6.command(config, settings)
    environment = None
    if url == config.remote_write_url:
        check_prometheus(config.prometheus_url, run_id)
        environment = read_environment(config, settings)
    return LoadTest(run_id, target, command, settings, environment)


def execute(config: StackConfig, test: LoadTest) -> tuple[int, Environment | None]:
    """Run k6 and return its exit status, and the environment with what is known afterwards."""
    other_cpu = OtherCpu(config) if test.target == config.api_url else None
    status = run_k6(test.command, test.settings)
    if not test.environment or not other_cpu:
        return status, test.environment
    share = other_cpu.share()
    return status, msgspec.structs.replace(test.environment, other_cpu_share=share)


def new_run_id(profile: str) -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{profile}"


def check_run_id(run_id: str) -> str:
    """Raise unless an id given by RUN can be a label and a baggage entry."""
    if not RUN_ID.fullmatch(run_id):
        raise UserError(
            f"RUN is {run_id!r}; expected 1 to 64 of the characters A-Z a-z 0-9 . _ : -"
        )
    return run_id


def check_profile_variables(given: Mapping[str, str]) -> None:
    """Raise if k6 would take something else from the environment in place of the profile."""
    if names := [name for name in REPLACES_PROFILE if given.get(name)]:
        raise UserError(
            f"{' and '.join(names)} in the environment would silently replace the profile's "
            "scenario: unset it, or run k6 by hand."
        )


def check_target(url: str, *, confirmed: bool) -> None:
    """Raise unless the API is ready, and either on this machine or confirmed."""
    local = LOCAL.fullmatch(urlsplit(url).hostname or "")
    if not local and not confirmed:
        raise TargetError(
            f"BASE_URL is {url}, which is not on this machine, and a load test can bring it down. "
            "Set CONFIRM_TARGET=1 if you are allowed to load-test it. Nothing was sent."
        )
    try:
        response = httpx.get(f"{url}/readyz", timeout=10.0, trust_env=not local)
    except (httpx.HTTPError, httpx.InvalidURL):
        raise TargetError(
            f"The API does not answer at {url}. Run `just up`, or set BASE_URL."
        ) from None
    if response.status_code != httpx.codes.OK:
        raise TargetError(
            f"The API at {url} is not ready: GET /readyz returned {response.status_code}, expected "
            f"200. See `just status`. The response was {response.text[:200]!r}."
        )


def check_prometheus(url: str, run_id: str) -> None:
    """Raise unless Prometheus is ready and has no run of this id."""
    with Prometheus(url) as prometheus:
        prometheus.check()
        if run_id in prometheus.label_values("testid", run_list.RUNS):
            raise UserError(
                f"Prometheus already has a run {run_id}: choose another RUN, or leave it out."
            )


def run_k6(command: list[str], settings: Mapping[str, str]) -> int:
    """Run k6 in this terminal; one Ctrl-C ends it with its summary, a second one at once."""
    process = subprocess.Popen(  # noqa: S603 - k6, on the project's own script
        command, env=dict(settings), stdin=subprocess.DEVNULL, process_group=0
    )
    last_signal = {signal.SIGINT: 0.0, signal.SIGTERM: 0.0}

    def interrupt(number: int, _: FrameType | None) -> None:
        kind, now = signal.Signals(number), time.monotonic()
        repeated = now - last_signal[kind] <= CTRL_C_SECONDS
        last_signal[kind] = now
        if process.poll() is None and not repeated:
            process.send_signal(number)

    def resize(number: int, _: FrameType | None) -> None:
        if process.poll() is None:
            process.send_signal(number)

    handlers = {signal.SIGINT: interrupt, signal.SIGTERM: interrupt, signal.SIGWINCH: resize}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        status = process.wait()
        # The second arrival of a Ctrl-C must not interrupt the report.
        while time.monotonic() - max(last_signal.values()) < CTRL_C_SECONDS:
            time.sleep(0.1)
        return status
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
