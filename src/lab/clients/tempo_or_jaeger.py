"""Connect to the trace store of the stack, whichever it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from lab.clients.http import HttpClient
from lab.clients.jaeger import Jaeger
from lab.clients.tempo import Tempo
from lab.clients.trace_store import TraceStore, TraceStoreError


@contextmanager
def connect(url: str) -> Iterator[TraceStore]:
    """Find out which trace store answers at an address, and return a client of it."""
    with HttpClient("The trace store", url, TraceStoreError) as http:
        if http.request("GET", "/api/echo").text.strip() == "echo":
            yield Tempo(http)
        elif '"data"' in http.request("GET", "/api/services").text:
            yield Jaeger(http)
        else:
            raise TraceStoreError(
                f"What answers at {http.url} is neither Tempo nor Jaeger: TRACES_PORT must be the "
                "port of the trace store's query API."
            )
