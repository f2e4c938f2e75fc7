import socket
from pathlib import Path

import pytest

from lab.stack import ports
from lab.stack.config import HOST

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_free_ports_differ_and_are_free() -> None:
    chosen = ports.free_ports(20)

    assert len(set(chosen)) == 20
    assert not any(map(ports.is_taken, chosen))


def test_a_taken_port_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = ports.free_ports(2)
    monkeypatch.setattr(ports, "FREE_PORTS", (taken, free))

    with socket.create_server((HOST, taken)):
        assert ports.free() == free


@pytest.mark.skipif(not OUTGOING.exists(), reason="only Linux says which ports it gives away")
def test_no_outgoing_connection_gets_a_chosen_port() -> None:
    first, last = map(int, OUTGOING.read_text().split())

    assert not {port for port in ports.FREE_PORTS if first <= port <= last}
