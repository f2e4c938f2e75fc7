"""What a run was made on, and by which programs: known to who starts it."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from observability.bundle import Bundle, BundleError
from observability.choice import choose
from observability.native.tools import ToolError
from observability.runs import generator
from observability.runs.record import Environment, Machine

# What changes a run's load; tokens, passwords and headers are never among them.
SETTINGS = (
    "PROFILE",
    "JOURNEY",
    "DURATION",
    "RATE",
    "VUS",
    "CLEANUP",
    "GENERATOR",
    "K6_TAGS",
    "K6_FEATURES",
    "K6_OUT",
    "K6_SYSTEM_TAGS",
    "K6_PROMETHEUS_RW_PUSH_INTERVAL",
    "K6_PROMETHEUS_RW_STALE_MARKERS",
)
CPU_INFO = Path("/proc/cpuinfo")
INSPECT = ("inspect", "--include-system-env-vars")
INSPECT_SECONDS = 60


def read_environment(bundle: Bundle, script: str, settings: Mapping[str, str]) -> Environment:
    """Ask the machine, the bundle and k6 what a run is made with."""
    return Environment(
        target=settings["BASE_URL"],
        machine=machine(),
        programs=programs(bundle),
        settings={name: settings[name] for name in SETTINGS if settings.get(name)},
        options=options(bundle, script, settings),
    )


def machine() -> Machine:
    """Describe this machine, without its name."""
    return Machine(
        cores=os.cpu_count() or 1,
        cpu=_cpu(),
        platform=f"{platform.system()} {platform.machine()}",
        memory=psutil.virtual_memory().total,
    )


def _cpu() -> str:
    """Name the processor: Linux has its model in a file alone."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def programs(bundle: Bundle) -> dict[str, str]:
    """Give the version of each part of the bundle, and of k6 and Python."""
    try:
        parts = {part.name: part.version for part in choose(bundle).states()}
        parts["k6"] = generator.version(bundle)
    except (BundleError, ToolError):
        parts = {}
    return {name: version for name, version in parts.items() if version}


def options(bundle: Bundle, script: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Ask k6 what it makes of the script and its settings; thresholds have their own place."""
    try:
        answer = subprocess.run(  # noqa: S603 - k6, on the project's own script
            generator.command(bundle, script, settings, *INSPECT),
            env=dict(settings),
            capture_output=True,
            text=True,
            timeout=INSPECT_SECONDS,
            check=False,
        )
        inspected: dict[str, Any] = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    inspected.pop("thresholds", None)
    return _said(inspected)


def _said(options: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is null or empty, at any depth."""
    said = {
        name: _said(value) if isinstance(value, dict) else value for name, value in options.items()
    }
    return {name: value for name, value in said.items() if value not in (None, {}, [])}
