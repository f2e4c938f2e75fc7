"""Addresses and outputs as they are shown and recorded: without possible credentials."""

import re

# A password may contain any of the characters that end a host or a path, so an ambiguous address is
# not shown at all.
ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)([^/?#\s]*@)?"
    r"(?P<host>(\[[0-9A-Fa-f:.]+\]|[^\s:/?#\[\]@]+)(:\d{1,5})?)([/?#][^\s@]*)?"
)
PLAIN_ADDRESS = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/:@?#\[\]]+)(:\d{1,5})?(/[^\s?#@]*)?")
"""An address without a user, a password, a query and a fragment."""
FILE = re.compile(r"[^\s@?:&=]+")
HIDDEN = "…"
# k6's outputs that need no argument.
OUTPUTS = {
    *("cloud", "csv", "datadog", "influxdb", "json", "opentelemetry", "experimental-opentelemetry"),
    *("experimental-prometheus-rw", "kafka", "statsd", "summary", "web-dashboard"),
}
FILE_OUTPUTS = {"csv", "json"}
OUTPUT = re.compile(r"[a-z][a-z0-9-]*")


def shown_address(address: str) -> str:
    """Return the scheme, host and port of an address; a path and a query may hold a token."""
    match = ADDRESS.fullmatch(address)
    return match["scheme"] + match["host"] if match else HIDDEN


def shown_outputs(outputs: str) -> str:
    """Return the names of k6's outputs, with their files and addresses."""
    return ",".join(_shown_output(output) for output in outputs.split(","))


def _shown_output(output: str) -> str:
    name, separator, argument = output.strip().partition("=")
    if not separator:
        return name if name in OUTPUTS or name.startswith("xk6-") else HIDDEN
    if not OUTPUT.fullmatch(name):
        return HIDDEN
    if name in FILE_OUTPUTS and FILE.fullmatch(argument):
        return f"{name}={argument}"
    return f"{name}={shown_address(argument)}"
