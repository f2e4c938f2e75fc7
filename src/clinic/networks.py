"""Private networks whose callers are trusted like those on this machine."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


class Networks:
    """Private networks, parsed from a comma-separated list such as `10.1.2.0/24, fd00::/8`."""

    def __init__(self, text: str = "") -> None:
        self.members = tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())
        for network in self.members:
            if not network.is_private:
                raise ValueError(
                    f"{network} is not a private network; use a token to admit other callers"
                )

    def __contains__(self, host: str) -> bool:
        address = parse_address(host)
        return address is not None and any(address in network for network in self.members)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Networks) and self.members == other.members

    def __hash__(self) -> int:
        return hash(self.members)


def parse_address(host: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address; unwrap IPv4-mapped IPv6."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
