"""Host names that requests may be sent to."""

import re

from clinic.networks import parse_address

HOST = re.compile(rb"(\[[0-9a-f:.]+\]|[a-z0-9._~%!$&'()*+;=-]+)(?::[0-9]{0,5})?", re.IGNORECASE)
"""The header `Host` of RFC 9110: a name or an IP address, and perhaps a port."""

NAME = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9._-]+")

OWN = ("localhost", "127.0.0.1", "[::1]", "api", "host.docker.internal")
"""Names of this machine, and of the API's container inside and outside its network."""


class Hosts:
    """Host names from a comma-separated list such as `clinic.example.org, 10.1.2.3`."""

    def __init__(self, text: str = "") -> None:
        self.names = frozenset(word.strip().lower() for word in text.split(",") if word.strip())
        for name in self.names:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a host name or an IP address, without a port")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hosts) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __bool__(self) -> bool:
        return bool(self.names)


class AllowedHosts:
    """The names that the API answers to, whatever the port."""

    def __init__(self, added: Hosts, port: int) -> None:
        self.names = frozenset(name.encode() for name in (*OWN, *added.names))
        self.usual = frozenset(b"%b:%d" % (name, port) for name in self.names)

    def allows(self, host: bytes, server: tuple[str, int | None] | None) -> bool:
        """Say whether a request may be sent to this host; `server` is the address it came in on.

        An address is no name that somebody else could point to this machine.
        """
        if host in self.usual:
            return True
        match = HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].lower()
        if name in self.names:
            return True
        address = parse_address(name.strip(b"[]").decode())
        return address is not None and server is not None and address == parse_address(server[0])
