"""Free ports, taken ports, and the processes that hold them."""

import random
import socket
from pathlib import Path

import psutil
from filelock import FileLock

from lab.errors import UserError
from lab.paths import cache_folder
from lab.stack.config import HOST

# Below the ports that Linux and macOS give to outgoing connections: such a connection could take
# a port between its choice and its use.
FREE_PORTS = range(20_000, 32_768)


def free() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Choose ports that are free and that no command of this user has chosen recently.

    A service listens some time after its port is chosen. So that nobody else chooses the port in
    between, all commands take the next ports from a counter in the cache folder.
    """
    counter = cache_folder() / "next-port"
    try:
        counter.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(counter.with_suffix(".lock")):
            chosen = free_ports_from(read_number(counter), count)
            counter.write_text(str(chosen[-1] + 1))
    except OSError:  # the folder cannot be written
        chosen = free_ports_from(None, count)
    return chosen


def read_number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def free_ports_from(start: int | None, count: int) -> list[int]:
    """Return the first free ports from `start` on, at random without it."""
    if start is None or start not in FREE_PORTS:
        start = random.choice(FREE_PORTS)  # noqa: S311 - no secret
    first = FREE_PORTS.index(start)
    chosen: list[int] = []
    for port in (*FREE_PORTS[first:], *FREE_PORTS[:first]):
        if not is_taken(port):
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise UserError(f"Fewer than {count} ports from {FREE_PORTS[0]} to {FREE_PORTS[-1]} are free.")


def check(wanted: dict[str, int]) -> None:
    """Raise if two variables name the same port or a port is in use."""
    variables: dict[int, str] = {}
    for variable, port in wanted.items():
        if port in variables:
            raise UserError(
                f"{variables[port]} and {variable} are both {port}; set one of them to another "
                "port."
            )
        variables[port] = variable
        if is_taken(port):
            raise UserError(
                f"Port {port} is taken{holder(port)}. Stop that process, or choose another port: "
                f"`{variable}={free()} just up`."
            )


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def holder(port: int) -> str:
    """Name the process that listens on a port; empty if the system does not tell."""
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listening and listening.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return ""
