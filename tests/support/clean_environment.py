"""Remove from the environment what the shell means for the stack, for k6 and for other programs.

Imported before anything that reads variables at import, as OpenTelemetry does: tests depend on
none of them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lab.stack.inherited import base_environment

PREFIXES = ("COMPOSE_", "K6_", "LC_")
NAMES = {
    *("BASE_URL", "CLEANUP", "CONFIRM_TARGET", "DURATION", "GENERATOR", "JOURNEY", "NOTE"),
    *("PROFILE", "RATE", "RUN", "RUN_ID", "TRACE_EVERY", "VUS"),
    *("STACK_BACKEND", "ALERTMANAGER_PORT", "GRAFANA_PORT", "OTLP_PORT", "POSTGRES_PORT"),
    *("PROMETHEUS_PORT", "TRACES_PORT"),
    *("COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "LANGUAGE", "WEB_CONCURRENCY"),
}
# In a worker of pytest-xdist they are gone already; programs are built before there are workers.
PROXIES = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


def clean() -> None:
    inherited = base_environment()
    os.environ.clear()
    os.environ.update(
        {
            name: value
            for name, value in inherited.items()
            if not (name in NAMES or name.startswith(PREFIXES) or name.lower().endswith("_proxy"))
        }
    )
    os.environ |= {"LANG": "C.UTF-8", "TERM": "dumb"}
    os.umask(0o022)


@contextmanager
def proxies() -> Iterator[None]:
    """Bring back the proxies, for what reaches addresses outside."""
    os.environ |= PROXIES
    try:
        yield
    finally:
        for name in PROXIES:
            os.environ.pop(name)


clean()
