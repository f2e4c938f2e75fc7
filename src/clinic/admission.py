"""Admission: what the headers of a request say of its caller, read in one pass before all else."""

import re
from functools import lru_cache
from http import HTTPStatus
from secrets import compare_digest
from typing import NamedTuple

from litestar.types import HTTPScope, WebSocketScope

from clinic.hosts import HOST, AllowedHosts
from clinic.networks import parse_address
from clinic.problems import RefusedError
from clinic.settings import Settings

ConnectionScope = HTTPScope | WebSocketScope
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
READ = frozenset(
    {b"host", b"authorization", b"origin", b"sec-fetch-site", b"baggage", b"traceparent"}
)
SCHEMES = frozenset({b"http", b"https"})
"""Schemes of the API's own pages; a proxy may add TLS."""
FROM_BROWSERS = frozenset({b"origin", b"sec-fetch-site"})
HARMLESS = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"connection",
        b"content-length",
        b"content-type",
        b"tracestate",
        b"user-agent",
    }
)
"""Frequent headers that no proxy adds."""
PROXY = re.compile(
    rb"forwarded|(client|connecting|real|remote|user)-?(ip|addr|address)$"
    rb"|^(via|cdn-loop|x-envoy-external-address)$|^(cf|tailscale)-"
)
"""Names of headers that proxies add, most of them for the address of the caller."""

BAD_HOST = RefusedError(
    HTTPStatus.BAD_REQUEST, "Expected the header `Host` once, with a name and perhaps a port."
)
OTHER_HOST = RefusedError(
    HTTPStatus.MISDIRECTED_REQUEST,
    "The API does not answer to the name in the header `Host`. CLINIC_ALLOWED_HOSTS adds names.",
)
BEHIND_PROXY = RefusedError(
    HTTPStatus.FORBIDDEN,
    "The request came through a proxy, behind which every caller looks like this machine. Set "
    "CLINIC_API_TOKEN to use one.",
)
OTHER_ORIGIN = RefusedError(
    HTTPStatus.FORBIDDEN, "A browser sent this request for a page of another origin."
)


class Caller(NamedTuple):
    """Who sent a request, and what it says of its trace."""

    is_trusted: bool
    """Whether it has the token or, if none is set, comes from this machine or an open network."""
    refusal: RefusedError | None
    """Why nobody may send this request."""
    baggage: bytes
    """Empty if no caller may name a load run."""
    traceparent: bytes


class Admission:
    """Decides which requests are answered, and whose callers are trusted.

    Pages in a browser on this machine come from its address, hence the checks of `Host`, `Origin`
    and `Sec-Fetch-Site`.
    """

    def __init__(self, settings: Settings) -> None:
        self.token = settings.api_token.encode() if settings.api_token else b""
        self.load_runs = settings.load_runs
        self.open_networks = settings.open_networks
        self.hosts = (
            None
            if self.token and not settings.allowed_hosts
            else AllowedHosts(settings.allowed_hosts, settings.shared_port or settings.port)
        )
        self.is_near = lru_cache(256)(self.is_local_or_open)

    def examine(self, scope: ConnectionScope) -> Caller:
        """Return who sent the request; the second call for a request costs nothing."""
        caller: Caller | None = scope["state"].get("caller")
        if caller is None:
            caller = scope["state"]["caller"] = self.read(scope)
        return caller

    def read(self, scope: ConnectionScope) -> Caller:
        found: dict[bytes, bytes] = {}
        is_proxied = False
        for name, value in scope["headers"]:
            if name in HARMLESS:
                continue
            if name in READ:
                found[name] = b"%b,%b" % (found[name], value) if name in found else value
            elif PROXY.search(name):
                is_proxied = True
        host = found.get(b"host", b"")
        refusal = None
        if not HOST.fullmatch(host):
            refusal = BAD_HOST
        elif self.hosts and not self.hosts.allows(host, scope["server"]):
            refusal = OTHER_HOST
        elif is_proxied and not self.token:
            refusal = BEHIND_PROXY
        elif (
            not found.keys().isdisjoint(FROM_BROWSERS)
            and scope.get("method") not in SAFE
            and is_from_another_origin(found, host)
        ):
            refusal = OTHER_ORIGIN
        return Caller(
            self.is_trusted(scope, found),
            refusal,
            found.get(b"baggage", b"") if self.load_runs else b"",
            found.get(b"traceparent", b""),
        )

    def is_trusted(self, scope: ConnectionScope, headers: dict[bytes, bytes]) -> bool:
        if not self.token:
            return scope["client"] is not None and self.is_near(scope["client"][0])
        scheme, _, sent = headers.get(b"authorization", b"").partition(b" ")
        return compare_digest(sent.strip(b" "), self.token) and scheme.lower() == b"bearer"

    def is_local_or_open(self, address: str) -> bool:
        parsed = parse_address(address)
        return parsed is not None and (parsed.is_loopback or address in self.open_networks)


def is_from_another_origin(headers: dict[bytes, bytes], host: bytes) -> bool:
    """Say whether a browser states that the page which sends this has another origin."""
    if headers.get(b"sec-fetch-site", b"none") not in {b"none", b"same-origin"}:
        return True
    origin = headers.get(b"origin")
    if origin is None:
        return False
    scheme, _, authority = origin.lower().partition(b"://")
    # Apps in a browser's engine have pages of schemes of their own, such as `tauri://localhost`.
    return scheme not in SCHEMES or authority != host.lower()
