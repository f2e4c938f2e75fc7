"""Free ports, taken ports, and the processes that hold them."""

import random
import socket
from contextlib import ExitStack

import psutil

from lab.errors import UserError
from lab.stack.config import HOST

# Below the ports that Linux and macOS give to outgoing connections: such a connection could take
# a port between its choice and its use.
FREE_PORTS = range(20_000, 32_768)


def free() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Choose ports at random, so that commands that choose at the same time do not meet."""
    candidates = iter(random.sample(FREE_PORTS, len(FREE_PORTS)))
    chosen: list[int] = []
    with ExitStack() as stack:
        while len(chosen) < count:
            port = next(candidates)
            try:
                stack.enter_context(socket.create_server((HOST, port)))
            except OSError:
                continue
            chosen.append(port)
    return chosen


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
