"""OpenTelemetry's variables: refuses values that the API cannot honour.

The SDK ignores some of these values, raises an exception for others, and reads a few when it is
imported. So this module does not import it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from os import environ
from pathlib import Path
from urllib.parse import urlsplit

from clinic.settings import SettingsError

SAMPLERS = [
    f"{parent}{sampler}"
    for parent in ("", "parentbased_")
    for sampler in ("always_on", "always_off", "traceidratio")
]
MIN_LENGTH = 256
"""Longer than every attribute that spans are searched and counted by."""
MIN_ATTRIBUTES = 32
"""More than any span has."""
RESOURCE_ATTRIBUTE = re.compile(r"\s*([^\s=,]+)\s*=[^,]*")
SPAN_ATTRIBUTES = re.compile(r"(clinic|db|http|k6|trace_store_start)(\.|$)")
"""Span metrics take these from the resource where a span has none: it would belong to a run."""

HEADER = re.compile(r"\s*[\w!#$%&'*+.^`|~-]+[ \t]*=[ !#-+.-:<-\[\]-~-]*", re.ASCII)
GRPC = "grpc"
"""The module that exporters by gRPC need."""

Check = Callable[[str], bool]


def one_of(*names: str) -> tuple[Check, str]:
    return lambda value: value.lower() in names, " or ".join(names)


def whole(least: int) -> tuple[Check, str]:
    return (
        lambda value: value.isascii() and value.isdigit() and int(value) >= least,
        f"a whole number of at least {least}",
    )


def only(allowed: Sequence[str], required: str) -> tuple[Check, str]:
    def check(value: str) -> bool:
        names = {name.strip() for name in value.split(",")}
        return required in names and names <= set(allowed)

    return check, ",".join(allowed)


def is_address(value: str) -> bool:
    try:
        url = urlsplit(value)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def is_ratio(value: str) -> bool:
    return bool(re.fullmatch(r"[01]|[01]?\.\d+", value)) and float(value) <= 1


def names_resource(value: str) -> bool:
    pairs = [RESOURCE_ATTRIBUTE.fullmatch(pair) for pair in value.split(",") if pair.strip()]
    return all(pair and not SPAN_ATTRIBUTES.match(pair[1]) for pair in pairs)


def is_protocol(value: str) -> bool:
    by_http = value.lower() == "http/protobuf"
    return by_http or (value.lower() == "grpc" and find_spec(GRPC) is not None)


def are_headers(value: str) -> bool:
    """Say whether the SDK takes all headers: it would log the others, with their secrets."""
    return all(HEADER.fullmatch(it) for it in value.split(",") if it.strip())


def can_be_read(value: str) -> bool:
    try:
        return bool(Path(value).read_bytes())
    except OSError:
        return False


READABLE = (can_be_read, "a file that can be read")


def per_signal(name: str, check: tuple[Check, str]) -> dict[str, tuple[Check, str]]:
    """Return a check of OTEL_EXPORTER_OTLP_* and of its variables for traces and for metrics."""
    return {f"OTEL_EXPORTER_OTLP_{signal}{name}": check for signal in ("", "TRACES_", "METRICS_")}


CHECKS: dict[str, tuple[Check, str]] = {
    "OTEL_TRACES_EXPORTER": one_of("otlp", "none"),
    "OTEL_METRICS_EXPORTER": one_of("otlp", "none"),
    "OTEL_PROPAGATORS": only(("tracecontext", "baggage"), "tracecontext"),
    "OTEL_TRACES_SAMPLER": one_of(*SAMPLERS),
    "OTEL_TRACES_SAMPLER_ARG": (is_ratio, "a number from 0 to 1"),
    "OTEL_RESOURCE_ATTRIBUTES": (
        names_resource,
        "name=value,name=value, without names of span attributes (clinic.*, db.*, http.*, k6.*)",
    ),
    "OTEL_SEMCONV_STABILITY_OPT_IN": only(("http", "database"), "http"),
    "OTEL_METRICS_EXEMPLAR_FILTER": one_of("trace_based", "always_on", "always_off"),
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": one_of("cumulative"),
    **per_signal(
        "PROTOCOL",
        (is_protocol, "http/protobuf, or grpc with the extra `grpc`"),
    ),
    **per_signal("COMPRESSION", one_of("none", "gzip", "deflate")),
    **per_signal("ENDPOINT", (is_address, "an address such as http://127.0.0.1:4318")),
    **per_signal("HEADERS", (are_headers, "name=value,name=value, encoded as in a URL")),
    **per_signal("CERTIFICATE", READABLE),
    **per_signal("CLIENT_KEY", READABLE),
    **per_signal("CLIENT_CERTIFICATE", READABLE),
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": whole(MIN_LENGTH),
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": whole(MIN_LENGTH),
    "OTEL_ATTRIBUTE_COUNT_LIMIT": whole(MIN_ATTRIBUTES),
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": whole(MIN_ATTRIBUTES),
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": whole(0),
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": whole(0),
    "OTEL_SPAN_EVENT_COUNT_LIMIT": whole(0),
    "OTEL_SPAN_LINK_COUNT_LIMIT": whole(0),
    "OTEL_BSP_EXPORT_TIMEOUT": whole(1),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": whole(1),
    "OTEL_BSP_MAX_QUEUE_SIZE": whole(1),
    "OTEL_BSP_SCHEDULE_DELAY": whole(1),
}
GRPC_COMPRESSIONS = ("", "gzip")
BATCH, QUEUE = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE"
DEFAULT_BATCH, DEFAULT_QUEUE = 512, 8192


def check_variables(env: Mapping[str, str] = environ) -> None:
    """Raise SettingsError with the first variable whose value cannot be honoured."""
    for name, (check, expected) in CHECKS.items():
        value = env.get(name, "").strip()
        if value and not check(value):
            raise SettingsError(f"{name}: expected {expected}.")
    for signal in ("TRACES", "METRICS"):
        compression = otlp("COMPRESSION", signal, env).lower()
        if by_grpc(signal, env) and compression not in GRPC_COMPRESSIONS:
            raise SettingsError(
                f"OTEL_EXPORTER_OTLP_{signal}_COMPRESSION: gRPC expects gzip, or nothing."
            )
    batch, queue = (
        int(env.get(name, "").strip() or default)
        for name, default in ((BATCH, DEFAULT_BATCH), (QUEUE, DEFAULT_QUEUE))
    )
    if batch > queue:
        raise SettingsError(f"{QUEUE}: expected at least {BATCH}, which is {batch}.")


def otlp(name: str, signal: str, env: Mapping[str, str] = environ) -> str:
    """Return a variable of OTEL_EXPORTER_OTLP_* for TRACES or METRICS."""
    own = env.get(f"OTEL_EXPORTER_OTLP_{signal}_{name}", "").strip()
    return own or env.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


def by_grpc(signal: str, env: Mapping[str, str] = environ) -> bool:
    """Say whether TRACES or METRICS are exported by gRPC."""
    return otlp("PROTOCOL", signal, env).lower() == "grpc"


def exports(signal: str, env: Mapping[str, str] = environ) -> bool:
    """Say whether TRACES or METRICS are exported: `none` as the exporter switches them off."""
    return env.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() != "none"
