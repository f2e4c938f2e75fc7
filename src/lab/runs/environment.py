"""Where a run takes place: the machine, the versions of all programs, k6's options."""

import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from lab.addresses import shown_outputs
from lab.errors import UserError
from lab.paths import PROJECT
from lab.runs import k6
from lab.runs.record import Environment, Machine
from lab.stack.config import StackConfig
from lab.stack.select import choose
from lab.stack.supervisor import PID_FILE

# Settings that change a run. Tokens, passwords and headers must never be among them.
RECORDED_SETTINGS = (
    "PROFILE",
    "JOURNEY",
    "DURATION",
    "RATE",
    "VUS",
    "CLEANUP",
    "GENERATOR",
    "GENERATORS",
    "TRACE_EVERY",
    "K6_TAGS",
    "NOTE",
)
CPU_INFO = Path("/proc/cpuinfo")
# Options of k6 that change a run. Certificates, hosts and tokens must never be among them.
RECORDED_OPTIONS = {
    *("batch", "batchPerHost", "discardResponseBodies", "dns", "duration", "executionSegment"),
    *("executionSegmentSequence", "features", "handleSummaryTimeout", "insecureSkipTLSVerify"),
    *("iterations", "maxRedirects", "metricSamplesBufferSize", "minIterationDuration"),
    *("noConnectionReuse", "noCookiesReset", "noSetup", "noTeardown", "noVUConnectionReuse"),
    *("paused", "rps", "scenarios", "setupTimeout", "stages", "summaryTimeUnit"),
    *("summaryTrendStats", "systemTags", "tags", "teardownTimeout", "throw", "tlsCipherSuites"),
    *("tlsVersion", "vus"),
}
INSPECT_SECONDS = 60
GIT_SECONDS = 10
BUSY_CPU_TIMES = ("user", "nice", "system", "irq", "softirq", "steal")


def read_environment(config: StackConfig, settings: Mapping[str, str]) -> Environment:
    """Describe what a run with these settings takes place on."""
    recorded = (*RECORDED_SETTINGS, *k6.default_settings())
    return Environment(
        target=settings["BASE_URL"],
        machine=Machine(
            cores=os.cpu_count() or 1,
            cpu=_cpu(),
            platform=f"{platform.system()} {platform.machine()}",
            memory=psutil.virtual_memory().total,
        ),
        programs=_versions(config),
        settings={name: _shown(name, settings[name]) for name in recorded if settings.get(name)},
        options=_options(config, settings),
        commit=_commit(),
    )


def _shown(name: str, value: str) -> str:
    return shown_outputs(value) if name == "K6_OUT" else value


def _cpu() -> str:
    """Name the CPU's model, which Linux has in a file only."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def _commit() -> str:
    """Name the project's git commit, with `+` if files differ from it; empty outside git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--exclude=*", "--dirty=+"],  # noqa: S607 - from PATH
            cwd=PROJECT,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(PROJECT.parent)},
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip() if described.returncode == 0 else ""


def _versions(config: StackConfig) -> dict[str, str]:
    try:
        versions = {service.name: service.version for service in choose(config).states()}
        versions["k6"] = k6.version(config)
    except UserError:
        return {}
    return {name: version for name, version in versions.items() if version}


def _options(config: StackConfig, settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that k6 derives from the script and its settings."""
    try:
        inspected = subprocess.run(  # noqa: S603 - k6, on the project's own script
            k6.command(config, settings, "inspect", "--include-system-env-vars"),
            env=dict(settings),
            capture_output=True,
            text=True,
            timeout=INSPECT_SECONDS,
            check=False,
        )
        options: dict[str, Any] = json.loads(inspected.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    for scenario in (options.get("scenarios") or {}).values():
        scenario.pop("env", None)  # it may hold a secret
    return _without_empty({name: it for name, it in options.items() if name in RECORDED_OPTIONS})


def _without_empty(options: dict[str, Any]) -> dict[str, Any]:
    """Drop what is null or empty, at any depth."""
    compact = {
        name: _without_empty(value) if isinstance(value, dict) else value
        for name, value in options.items()
    }
    return {name: value for name, value in compact.items() if value not in (None, {}, [])}


class OtherCpu:
    """Measures, from its creation on, the CPU time of programs other than the stack and k6."""

    def __init__(self, config: StackConfig) -> None:
        self._pid_file = config.state / PID_FILE
        # k6 while it runs; a child that has ended is part of this process's own usage.
        self.k6: list[psutil.Process] = []
        self._started, self._before = time.monotonic(), self._cpu_seconds()
        self._seconds = 0.0

    def share(self) -> float | None:
        """Return their share of the machine's CPU time; None without a native stack."""
        seconds = self.seconds()
        if seconds is None:
            return None
        available = (time.monotonic() - self._started) * (os.cpu_count() or 1)
        return min(seconds / available, 1.0)

    def seconds(self) -> float | None:
        """Return their CPU time, which never falls; None without a native stack."""
        now = self._cpu_seconds()
        if self._before is None or now is None:
            return None
        # The kernel counts processes and the machine in ticks that do not coincide.
        self._seconds = max(self._seconds, now - self._before)
        return self._seconds

    def _cpu_seconds(self) -> float | None:
        try:
            supervisor = psutil.Process(int(self._pid_file.read_text()))
            processes = [supervisor, *supervisor.children(recursive=True)]
        except (OSError, ValueError, psutil.Error):
            return None
        times = psutil.cpu_times()
        seconds = sum(getattr(times, kind, 0.0) for kind in BUSY_CPU_TIMES)
        for process in [*processes, *self.k6]:
            with suppress(psutil.Error):
                # User and system time of the process and of its finished children.
                seconds -= sum(process.cpu_times()[:4])
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            seconds -= usage.ru_utime + usage.ru_stime
        return seconds
