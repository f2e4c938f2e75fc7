"""The networks whose callers the clinic trusts as it trusts its own machine."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


class Networks:
    """Private networks, written as addresses with prefixes and commas between: `10.1.2.0/24`."""

    def __init__(self, text: str = "") -> None:
        self.members = tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())
        for network in self.members:
            if not network.is_private:
                raise ValueError(
                    f"{network} reaches beyond private networks; others are let in by a token"
                )

    def __contains__(self, host: str) -> bool:
        address = address_of(host)
        return address is not None and any(address in network for network in self.members)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Networks) and self.members == other.members

    def __hash__(self) -> int:
        return hash(self.members)


@lru_cache(1024)
def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Read an address, an IPv4 one also where it comes in the clothes of IPv6."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
