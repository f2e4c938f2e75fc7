"""Check what this machine and this shell give the stack: `just doctor`, and the start of `up`."""

import os
import platform
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from stat import S_IMODE
from urllib.request import getproxies_environment

import psutil
from rich.table import Table
from rich.text import Text

from lab.clients import receivers
from lab.clients.endpoint import PREFIXES, Endpoint, remote_endpoint
from lab.clients.prometheus import Prometheus
from lab.clients.tempo_or_jaeger import connect
from lab.console import make_console, plain
from lab.errors import UserError
from lab.paths import PROJECT, cache_folder
from lab.runs import k6
from lab.stack import ports, programs, services
from lab.stack.config import BACKEND_VARIABLE, StackConfig
from lab.stack.docker import DOCKER, Compose, DockerStack
from lab.stack.inherited import API_PREFIXES, SERVICE_PREFIXES, base_environment
from lab.stack.select import choose

GIB = 2**30
GIGABYTE = 10**9
# supervisord raises the soft limit of its services; the hard one has to allow this.
OPEN_FILES = 1024
NEEDED_DISK, ROOMY_DISK = 0.5 * GIB, 4 * GIB
ROOMY_MEMORY = 1.5 * GIB
OWN = 0o700
NOBODY = 65534
ELSEWHERE = "Set CLINIC_STATE_DIR to a folder of yours on a local disk."
# Reports wait for the last metrics of a run as long as that.
LONGEST_EXPORT_MS = 5000


class State(StrEnum):
    """What a check found: all right, something to know, something that stops `just up`."""

    OK = "ok"
    NOTE = "note"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """A line of `just doctor`."""

    check: str
    state: State
    detail: str


Result = tuple[State, str]
Check = Callable[[StackConfig], Result]


def ok(detail: str) -> Result:
    return State.OK, detail


def note(detail: str) -> Result:
    return State.NOTE, detail


def error(detail: str) -> Result:
    return State.ERROR, detail


def python(_: StackConfig) -> Result:
    if "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or ""):
        return error(
            "This Python uses musl (Alpine), for which PostgreSQL's wheel is not built: use a "
            "system with glibc 2.28 or later, or macOS."
        )
    return ok(f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def uv(_: StackConfig) -> Result:
    path = os.environ.get("UV") or shutil.which("uv")
    return ok(path) if path else note("not on PATH; it can fetch Go where that is missing")


def docker(config: StackConfig) -> Result:
    unavailable = Compose(config).unavailable()
    wanted = os.environ.get(BACKEND_VARIABLE) or ""
    if not unavailable:
        return ok("an engine with its compose plugin answers")
    if wanted == DOCKER:
        return error(f"{BACKEND_VARIABLE} is {DOCKER}, but {unavailable}.")
    return ok(f"{unavailable}: the stack runs natively, without Grafana unless it is on PATH")


def built_programs(config: StackConfig) -> Result:
    if isinstance(choose(config), DockerStack):
        return ok("in containers")
    missing = [
        it
        for it in programs.PROGRAMS.values()
        if it.package and not programs.cache_path(it).exists() and not shutil.which(it.name)
    ]
    if not missing:
        return ok("on PATH, or built already")
    names = ", ".join(it.name for it in missing)
    if not (shutil.which("go") or os.environ.get("UV") or shutil.which("uv")):
        return error(f"{names} must be built, and neither Go nor uv is on PATH: install uv.")
    gigabytes = sum(it.gigabytes for it in missing)
    folder = existing(cache_folder())
    if (free := shutil.disk_usage(folder).free / GIGABYTE) < gigabytes:
        return error(
            f"{names} must be built, for which {gigabytes:.1f} GB of disk are needed; {folder} has "
            f"{free:.1f} GB: set XDG_CACHE_HOME to a folder that has more."
        )
    minutes = sum(it.seconds for it in missing) / 60
    return note(
        f"{names} will be built once, about {minutes:.0f} min on two cores and {gigabytes:.1f} GB "
        "of disk, from the net"
    )


def free_ports(config: StackConfig) -> Result:
    backend = choose(config)
    if backend.states():
        return ok("those of the running stack")
    in_docker = isinstance(backend, DockerStack)
    try:
        ports.check(config.ports if in_docker else services.listening_ports(config))
    except UserError as taken:
        return error(taken.message)
    return ok("free")


def state_folder(config: StackConfig) -> Result:
    """Check that the folder's filesystem keeps modes, which PostgreSQL insists on."""
    parent = existing(config.state)
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=".clinic-") as folder:
            keeps = keeps_modes(Path(folder))
    except OSError as failure:
        return error(f"{config.state} cannot be written ({failure.strerror}). {ELSEWHERE}")
    # In Docker, PostgreSQL's data is in a volume.
    if keeps or isinstance(choose(config), DockerStack):
        return ok(str(config.state))
    return error(f"The filesystem of {parent} keeps no owners and modes. {ELSEWHERE}")


def keeps_modes(folder: Path) -> bool:
    try:
        folder.chmod(OWN)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, -1)  # PostgreSQL runs as another user
    except OSError:
        return False
    return S_IMODE(folder.stat().st_mode) == OWN


def existing(path: Path) -> Path:
    return next(it for it in (path, *path.parents) if it.is_dir())


def cache(_: StackConfig) -> Result:
    parent = existing(cache_folder())
    if os.access(parent, os.W_OK):
        return ok(str(cache_folder()))
    return note(f"{parent} cannot be written; set XDG_CACHE_HOME if programs must be built")


def disk(config: StackConfig) -> Result:
    parent = existing(config.state)
    free = shutil.disk_usage(parent).free
    text = f"{free / GIB:.1f} GiB free in {parent}"
    if free < NEEDED_DISK:
        return error(f"{text}: the stack needs {NEEDED_DISK / GIB:.1f}.")
    return ok(text) if free >= ROOMY_DISK else note(f"{text}: enough for short runs only")


def memory(_: StackConfig) -> Result:
    free = psutil.virtual_memory().available
    text = f"{free / GIB:.1f} GiB available"
    return ok(text) if free >= ROOMY_MEMORY else note(f"{text}: the stack uses up to 1.5")


def open_files(_: StackConfig) -> Result:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        return error(f"At most {hard}; the stack needs {OPEN_FILES}: raise `ulimit -Hn`.")
    return ok(f"{soft}, at most {'any number' if hard == resource.RLIM_INFINITY else hard}")


def proxies(_: StackConfig) -> Result:
    if not (names := sorted(getproxies_environment())):
        return ok("none")
    return ok(f"for {', '.join(names)}: only for addresses outside, never within the stack")


def other_variables(_: StackConfig) -> Result:
    kinds = [prefix for prefix in SERVICE_PREFIXES if prefix not in API_PREFIXES]
    names = sorted(name for name in os.environ if name.startswith(tuple(kinds)))
    return ok(f"{', '.join(names)}: the stack does not read them" if names else "none")


def api_variables(config: StackConfig) -> Result:
    """Let the API check its settings; only it knows them."""
    own = {*services.LAB_VARIABLES, *config.ports}
    given = [name for name in os.environ if name.startswith(API_PREFIXES) and name not in own]
    if not given:
        return ok("none")
    environment = services.api_environment(config, "postgresql+asyncpg://clinic@127.0.0.1/clinic")
    checked = subprocess.run(
        [sys.executable, "-m", "clinic", "check"],
        env={**base_environment(), **environment},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if checked.returncode:
        return error(plain(checked.stderr.strip().splitlines()[-1]).removeprefix("clinic: error: "))
    blind = list(blinding(os.environ.get))
    return note("; ".join(blind)) if blind else ok(", ".join(sorted(given)))


def blinding(get: Callable[[str, str], str]) -> Iterator[str]:
    """Say which settings of the API keep its telemetry from the stack's reports and alerts."""
    if get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield "OTEL_SDK_DISABLED: reports have k6's side only, and ClinicDown fires"
    for signal in ("TRACES", "METRICS"):
        if get(f"OTEL_{signal}_EXPORTER", "").strip().lower() == "none":
            yield f"OTEL_{signal}_EXPORTER: reports and alerts miss the API's {signal.lower()}"
        if get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", get("OTEL_EXPORTER_OTLP_ENDPOINT", "")):
            yield f"OTEL_EXPORTER_OTLP_*: the API's {signal.lower()} go elsewhere, not to the stack"
    interval = get("OTEL_METRIC_EXPORT_INTERVAL", "")
    if interval.isdigit() and int(interval) > LONGEST_EXPORT_MS:
        yield f"OTEL_METRIC_EXPORT_INTERVAL: alerts and reports need {LONGEST_EXPORT_MS} or less"


def remote_services(_: StackConfig) -> Result:
    """Ask each remote service that variables name, with its credentials."""
    endpoints = {prefix: remote_endpoint(prefix) for prefix in PREFIXES}
    for prefix, endpoint in endpoints.items():
        if endpoint:
            REMOTE_CHECKS[prefix](endpoint)
    names = [f"{prefix}_URL" for prefix, endpoint in endpoints.items() if endpoint]
    return ok(f"{', '.join(names)}: each answers and accepts its credentials" if names else "none")


def check_prometheus(endpoint: Endpoint) -> None:
    with Prometheus(endpoint) as prometheus:
        prometheus.check()


def check_trace_store(endpoint: Endpoint) -> None:
    with connect(endpoint):
        pass


REMOTE_CHECKS: dict[str, Callable[[Endpoint], None]] = {
    "PROMETHEUS": check_prometheus,
    "TEMPO": check_trace_store,
    "REMOTE_WRITE": receivers.check_remote_write,
    "REMOTE_TRACES": receivers.check_otlp,
}


def k6_variables(_: StackConfig) -> Result:
    try:
        k6.check_variables(os.environ)
    except UserError as refused:
        return note(f"a load test will not start: {refused.message}")
    names = sorted(name for name in os.environ if name.startswith("K6_"))
    return ok(f"{', '.join(names)}: in every run" if names else "none")


def mode_mask(_: StackConfig) -> Result:
    mask = os.umask(0o077)
    os.umask(mask)
    return ok(f"{mask:03o}")


def selinux(_: StackConfig) -> Result:
    enforce = Path("/sys/fs/selinux/enforce")
    try:
        enforcing = enforce.read_text().strip() == "1"
    except OSError:
        return ok("off")
    return ok("enforcing; containers may read the project's folders (z)" if enforcing else "on")


def clock(_: StackConfig) -> Result:
    newest = max(file.stat().st_mtime for file in (PROJECT / "src" / "lab").rglob("*.py"))
    if time.time() + 60 < newest:
        return note("behind the time of the project's own files: samples would be refused")
    return ok(time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


# Those that cost no more than some milliseconds run before each `just up`.
CHEAP: dict[str, Check] = {
    "Python": python,
    "state folder": state_folder,
    "disk": disk,
    "open files": open_files,
    "API variables": api_variables,
}
CHECKS: dict[str, Check] = {
    **CHEAP,
    "uv": uv,
    "Docker": docker,
    "programs": built_programs,
    "ports": free_ports,
    "cache folder": cache,
    "memory": memory,
    "proxies": proxies,
    "other variables": other_variables,
    "k6 variables": k6_variables,
    "remote services": remote_services,
    "umask": mode_mask,
    "SELinux": selinux,
    "clock": clock,
}


def examine(config: StackConfig, checks: dict[str, Check]) -> Iterator[Finding]:
    """Run checks; one that cannot run is an error of its own."""
    for name, check in checks.items():
        try:
            yield Finding(name, *check(config))
        except UserError as failure:
            yield Finding(name, State.ERROR, failure.message)


def require(config: StackConfig) -> None:
    """Raise with the first thing that would stop `just up`, among those that are cheap to find."""
    for finding in examine(config, CHEAP):
        if finding.state == State.ERROR:
            raise UserError(
                f"{finding.detail}\n`just doctor` checks everything that a start needs."
            )


def show(findings: list[Finding]) -> None:
    table = Table.grid("check", "state", "detail", padding=(0, 2))
    styles = {State.OK: "green", State.NOTE: "yellow", State.ERROR: "bold red"}
    for finding in findings:
        state = Text(finding.state, styles[finding.state])
        table.add_row(finding.check, state, plain(finding.detail, 1000))
    make_console().print(table)
