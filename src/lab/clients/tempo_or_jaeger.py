"""Connect to the trace store of the stack, or a remote one, whichever it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from lab.clients.endpoint import Endpoint
from lab.clients.http import HttpClient
from lab.clients.jaeger import Jaeger
from lab.clients.tempo import Tempo
from lab.clients.trace_store import TraceStore, TraceStoreError


@contextmanager
def connect(endpoint: Endpoint | str) -> Iterator[TraceStore]:
    """Find out which trace store answers at an address, and return a client of it."""
    with HttpClient("The trace store", endpoint, TraceStoreError) as http:
        if http.request("GET", "/api/echo").text.strip() == "echo":
            yield Tempo(http)
        elif '"data"' in http.request("GET", "/api/services").text:
            yield Jaeger(http)
        else:
            remote = http.endpoint.is_remote
            setting = "TEMPO_URL must be that" if remote else "TRACES_PORT must be the port"
            raise TraceStoreError(
                f"What answers at {http.url} is neither Tempo nor Jaeger: {setting} of the trace "
                "store's query API."
            )
