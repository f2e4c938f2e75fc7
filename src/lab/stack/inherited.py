"""What programs of the stack inherit from the shell: nothing that would change what they do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lab.clients.endpoint import VARIABLES

# Prefixes of the API's variables; the lab's own are among them.
API_PREFIXES = ("CLINIC_", "OTEL_")
# Variables that PostgreSQL and its clients, Grafana and the other services read by themselves.
SERVICE_PREFIXES = (
    *API_PREFIXES,
    *("PG", "DATA_SOURCE_", "GF_", "GATEWAY_", "NOTIFICATIONS_", "POSTGRES_SAMPLER_"),
)
# The stack listens on these addresses only, which no proxy can reach.
LOCAL = ("127.0.0.1", "localhost", "::1")


def base_environment() -> dict[str, str]:
    """Return what every service inherits: no setting of its own, no proxy on this machine, UTC."""
    names = [os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy")]
    no_proxy = ",".join(dict.fromkeys([*filter(None, names), *LOCAL]))
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(SERVICE_PREFIXES) and name not in VARIABLES
    }
    # The log of each service has its own form of time; all have the same zone.
    return {**inherited, "NO_PROXY": no_proxy, "no_proxy": no_proxy, "TZ": "UTC"}


@contextmanager
def without_variables(prefix: str) -> Iterator[None]:
    """Hide variables from a library that this program uses for itself."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(prefix)}
    try:
        yield
    finally:
        os.environ.update(hidden)
