"""The ports of the stack: free ones, taken ones, and who has taken them."""

import socket
from contextlib import ExitStack

import psutil

from lab.errors import UserError
from lab.stack.config import HOST


def free() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def check(wanted: dict[str, int]) -> None:
    """Refuse to start when a port is asked for twice or is in use."""
    owners: dict[int, str] = {}
    for variable, port in wanted.items():
        if port in owners:
            raise UserError(
                f"{owners[port]} and {variable} are both {port}; give one of them another port."
            )
        owners[port] = variable
        if taken(port):
            raise UserError(
                f"Port {port} is taken{by_whom(port)}. Stop that, or choose another port: "
                f"`{variable}={free()} just up`."
            )


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def by_whom(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listening and listening.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return ""
