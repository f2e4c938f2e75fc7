import socket
from concurrent.futures import ProcessPoolExecutor
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


def test_processes_that_choose_at_the_same_time_get_different_ports() -> None:
    with ProcessPoolExecutor(4) as processes:
        chosen = [port for ports_ in processes.map(ports.free_ports, [50] * 40) for port in ports_]

    assert len(chosen) == len(set(chosen)) == 2_000


@pytest.mark.parametrize("content", ["", "not a number", "70000", "-1"])
def test_a_damaged_counter_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(ports, "cache_folder", lambda: tmp_path)
    (tmp_path / "next-port").write_text(content)

    first, second = ports.free(), ports.free()

    assert first in ports.FREE_PORTS
    assert second != first


def test_ports_are_chosen_without_a_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(ports, "cache_folder", lambda: tmp_path / "file" / "cache")

    assert len(set(ports.free_ports(3))) == 3


@pytest.mark.skipif(not OUTGOING.exists(), reason="only Linux says which ports it gives away")
def test_no_outgoing_connection_gets_a_chosen_port() -> None:
    first, last = map(int, OUTGOING.read_text().split())

    assert not {port for port in ports.FREE_PORTS if first <= port <= last}
