"""What a run was made on, and by which programs: known to who starts it."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from lab.errors import UserError
from lab.runs import generator
from lab.runs.record import Environment, Machine
from lab.stack.config import StackConfig
from lab.stack.select import choose

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


def read_environment(config: StackConfig, script: str, settings: Mapping[str, str]) -> Environment:
    """Ask the machine, the stack and k6 what a run is made with."""
    return Environment(
        target=settings["BASE_URL"],
        machine=machine(),
        programs=programs(config),
        settings={name: settings[name] for name in SETTINGS if settings.get(name)},
        options=options(config, script, settings),
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


def programs(config: StackConfig) -> dict[str, str]:
    """Give the version of each part of the stack, and of k6 and Python."""
    try:
        parts = {part.name: part.version for part in choose(config).states()}
        parts["k6"] = generator.version(config)
    except UserError:
        parts = {}
    return {name: version for name, version in parts.items() if version}


def options(config: StackConfig, script: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Ask k6 what it makes of the script and its settings; thresholds have their own place."""
    try:
        answer = subprocess.run(  # noqa: S603 - k6, on the project's own script
            generator.command(config, script, settings, *INSPECT),
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
