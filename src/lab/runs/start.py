"""Start a load test: check that it may and can run, run k6, and return its status."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import httpx
import msgspec
import psutil

from lab import slo
from lab.addresses import PLAIN_ADDRESS, shown_address
from lab.clients import publisher, receivers
from lab.clients.endpoint import Endpoint
from lab.clients.prometheus import Prometheus, PrometheusError
from lab.console import echo
from lab.errors import UserError
from lab.paths import RESULTS_VARIABLE, results_folder
from lab.promql import load_run, published, run_list
from lab.promql.selectors import RETENTION, RunSelector
from lab.runs import generator, k6, run_info
from lab.runs.environment import OtherCpu, read_environment
from lab.runs.k6_process import Command, run_k6
from lab.runs.record import Environment
from lab.stack import docker_k6
from lab.stack.config import StackConfig

PROFILES = slo.PROFILES
JOURNEYS = ("book", "browse", "cancel", "mixed")

# A warning or an error of k6, where its output is no terminal.
REMARK = re.compile(r"level=(warning|error)")
RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# A container reaches its own machine as host.docker.internal.
LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}", re.IGNORECASE)
LOCAL = re.compile(r"localhost|host\.docker\.internal|127(\.\d{1,3}){3}|::1", re.IGNORECASE)


FORWARDING_SECONDS = 30.0


class TargetError(UserError):
    """The API is not ready for a load test; the message says what to do."""


@dataclass(frozen=True)
class LoadTest:
    """A run of one or more k6 that is ready to start.

    `environment` is None if the Prometheus that reports read does not get the run's metrics.
    """

    run_id: str
    target: str
    profile: str
    commands: list[Command]
    settings: dict[str, str]
    environment: Environment | None


def prepare(  # noqa: PLR0913 - what the command line has
    config: StackConfig,
    profile: str,
    journey: str,
    *,
    without_prometheus: bool = False,
    with_dashboard: bool = False,
    generators: int = 1,
) -> LoadTest:
    """Read the environment variables of a run and check everything that it needs.

    With `with_dashboard` k6 serves its own. Several generators share the load; the run is judged
    by the sum of what they measured, which Prometheus alone has.
    """
    given = os.environ
    check_profile_variables(given, profile)
    check_results_folder()
    k6.check_variables(given)
    run_id = check_run_id(given["RUN"]) if given.get("RUN") else new_run_id(profile)
    note = run_info.check_note(given.get("NOTE", ""))
    target = resolve_target(config, given.get("BASE_URL") or config.api_url)
    url = None if without_prometheus else k6.remote_write_url(given, config.remote_write_url)
    settings = {**given, "JOURNEY": journey, "NOTE": note}
    settings |= k6.run_settings(run_id, profile, target, url, given)
    if with_dashboard and generators == 1:
        settings |= k6.dashboard_settings(given)
    if target == config.api_url:  # any other API has its traces elsewhere
        settings[docker_k6.TRACES_ENDPOINT] = config.otlp_traces_endpoint
    check_target(target, confirmed=given.get("CONFIRM_TARGET") == "1")
    if generators > 1:
        k6.check_shared(given)
        settings["GENERATORS"] = str(generators)
    commands = _commands(config, settings, generators)
    if url and url != config.remote_write_url:
        check_receiver(url, settings)
    environment = None
    if url and (url == config.remote_write_url or config.prometheus.is_remote):
        check_prometheus(config.prometheus, run_id)
        environment = read_environment(config, settings)
    if generators > 1 and not environment:
        raise UserError(
            "Several generators are judged together by the Prometheus that reports read, which "
            "would not get their metrics: unset K6_OUT and K6_PROMETHEUS_RW_SERVER_URL, and leave "
            "out --without-prometheus."
        )
    return LoadTest(run_id, target, profile, commands, settings, environment)


def _commands(config: StackConfig, settings: dict[str, str], generators: int) -> list[Command]:
    if generators == 1:
        return [Command(k6.command(config, settings), settings)]
    named = [{**settings, "GENERATOR": str(number)} for number in range(1, generators + 1)]
    return [
        Command(
            k6.command(config, one, "run", "--quiet", *k6.segment_arguments(number, generators)),
            one,
        )
        for number, one in enumerate(named, 1)
    ]


def check_results_folder() -> None:
    """Raise before a run whose record could not be written after it."""
    folder = results_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(
            f"{folder} cannot be written, so the run would leave no record. Make it writable for "
            f"this user, or choose another folder with {RESULTS_VARIABLE}."
        )


def execute(
    config: StackConfig, test: LoadTest, page: str = ""
) -> tuple[list[int], Environment | None]:
    """Run k6 and return its exit statuses, and the environment with what is known afterwards.

    `page` is the address of the report page, if there is one meanwhile.
    """
    if not test.environment:
        return run_k6(test.commands), None
    info = run_info.labels_at_start(test.run_id, test.environment, test.settings["NOTE"])
    info["report"] = page
    baselines = run_info.saved_baselines()  # again, before their samples expire
    series = {published.INFO: [info], published.BASELINE: baselines}
    publisher.publish(config.published_endpoint, series)
    other_cpu = OtherCpu(config)

    def observe(pids: list[int]) -> AbstractContextManager[None]:
        other_cpu.k6 = [psutil.Process(pid) for pid in pids]
        find_pids = k6.find_pids(config, [one.settings for one in test.commands], pids)
        return generator.observe(config.otlp_metrics_endpoint, test.run_id, find_pids, other_cpu)

    run = run_k6 if len(test.commands) == 1 else partial(_run_generators, test.profile)
    statuses = run(test.commands, observe)
    share = other_cpu.share() if test.target == config.api_url else None
    if config.prometheus.is_remote:
        wait_for_verdict(config.prometheus, test.run_id)
    return statuses, msgspec.structs.replace(test.environment, other_cpu_share=share)


def _run_generators(
    profile: str,
    commands: Sequence[Command],
    observe: Callable[[list[int]], AbstractContextManager[None]],
) -> list[int]:
    """Run several k6, and print what they warned of when they have ended.

    The summaries are left out: each is of a part of the load, as are the results of its thresholds.
    """

    def ends_run(status: int) -> bool:
        return status not in k6.JUDGED or (status != 0 and slo.aborts_on_failure(profile))

    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        written = [replace(one, output=out) for one, out in zip(commands, outputs, strict=True)]
        statuses = run_k6(written, observe, ends_run)
        for number, (status, output) in enumerate(zip(statuses, outputs, strict=True), 1):
            output.seek(0)
            text = output.read().decode(errors="replace")
            if status not in k6.JUDGED:
                echo(f"Generator {number}: {k6.describe_status(status)}")
            for line in filter(REMARK.search, text.splitlines()):
                if "thresholds on metrics" not in line:
                    echo(f"Generator {number}: {line}")
    return statuses


def wait_for_verdict(endpoint: Endpoint, run_id: str) -> None:
    """Wait for the last samples of a run that ended: a stack forwards them some seconds later."""
    query = load_run.threshold_count(RunSelector(run_id, RETENTION))
    until = time.monotonic() + FORWARDING_SECONDS
    with suppress(PrometheusError), Prometheus(endpoint) as prometheus:
        while prometheus.number(query, time.time() + 10) is None and time.monotonic() < until:
            time.sleep(1.0)


def resolve_target(config: StackConfig, url: str) -> str:
    """Return the address of a target, the stack's own however this machine is called."""
    target = url.rstrip("/")
    own = re.fullmatch(rf"http://({LOOPBACK.pattern}):{config.clinic_port}", target, LOOPBACK.flags)
    return config.api_url if own else target


def new_run_id(profile: str) -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{profile}"


def check_run_id(run_id: str, what: str = "RUN") -> str:
    """Raise unless an id or name can be a label and a baggage entry."""
    if not RUN_ID.fullmatch(run_id):
        raise UserError(
            f"{what} is {run_id!r}; expected 1 to 64 of the characters A-Z a-z 0-9 . _ : -"
        )
    return run_id


def check_profile_variables(given: Mapping[str, str], profile: str) -> None:
    """Raise if the environment names another profile."""
    asked = given.get("PROFILE") or profile
    if asked not in PROFILES:
        raise UserError(f"PROFILE is {asked!r}; expected one of {', '.join(PROFILES)}.")
    if asked != profile:
        raise UserError(
            f"PROFILE is {asked}, but the command runs {profile}: use `just {asked}`, or unset "
            "PROFILE."
        )


def check_target(url: str, *, confirmed: bool) -> None:
    """Raise unless the API is ready, and either on this machine or confirmed."""
    if not PLAIN_ADDRESS.fullmatch(url):
        raise TargetError(
            "BASE_URL is not an address such as http://localhost:8000, without a user, a password "
            "and a query."  # it may hold a password, so it is not repeated
        )
    local = LOCAL.fullmatch(urlsplit(url).hostname or "")
    if not local and not confirmed:
        raise TargetError(
            f"BASE_URL is {url}, which is not on this machine, and a load test can bring it down. "
            "Set CONFIRM_TARGET=1 if you are allowed to load-test it. Nothing was sent."
        )
    if not local and urlsplit(url).scheme in getproxies_environment():
        return  # k6 decides by its own rules whether to use the proxy; its script checks the same
    try:
        response = httpx.get(f"{url}/readyz", timeout=10.0, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL):
        raise TargetError(
            f"The API does not answer at {url}. Run `just up`, or set BASE_URL."
        ) from None
    if response.status_code != httpx.codes.OK:
        raise TargetError(
            f"The API at {url} is not ready: GET /readyz returned {response.status_code}, expected "
            f"200. See `just status`. The response was {response.text[:200]!r}."
        )


def check_receiver(url: str, settings: Mapping[str, str]) -> None:
    """Raise if the receiver of k6's metrics refuses its credentials: k6 would go on without."""
    user, password, token = (
        settings.get(f"K6_PROMETHEUS_RW_{name}", "")
        for name in ("USERNAME", "PASSWORD", "BEARER_TOKEN")
    )
    pairs = settings.get("K6_PROMETHEUS_RW_HTTP_HEADERS", "").split(",")
    headers = {name: value for name, _, value in (it.partition(":") for it in pairs) if name}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if receivers.refuses(url, (user, password) if user else None, headers):
        raise UserError(
            f"{shown_address(url)} refuses k6's credentials: check K6_PROMETHEUS_RW_USERNAME and "
            "K6_PROMETHEUS_RW_PASSWORD_FILE, or K6_PROMETHEUS_RW_BEARER_TOKEN_FILE. Nothing was "
            "sent."
        )


def check_prometheus(endpoint: Endpoint, run_id: str) -> None:
    """Raise unless Prometheus is ready and has no run of this id."""
    with Prometheus(endpoint) as prometheus:
        prometheus.check()
        if run_id in prometheus.label_values("testid", run_list.RUNS):
            raise UserError(
                f"Prometheus already has a run {run_id}: choose another RUN, or leave it out."
            )
