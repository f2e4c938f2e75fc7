"""Ask a receiver of remote write whether it takes samples, before there are any."""

from collections.abc import Mapping
from contextlib import suppress

import httpx

from lab.clients.endpoint import Endpoint
from lab.clients.http import REFUSED, TIMEOUT, HttpClient

NOTHING = b"\0"
"""A request without samples: an empty message in a block of snappy."""
HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def check(endpoint: Endpoint) -> None:
    """Raise UserError unless a receiver answers and accepts the credentials."""
    with HttpClient("The receiver of remote write", endpoint) as http:
        http.json("POST", "", content=NOTHING, headers=HEADERS)


def refuses(url: str, auth: tuple[str, str] | None, headers: Mapping[str, str]) -> bool:
    """Say whether a receiver refuses these credentials; False if it does not answer this way."""
    with suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
        response = httpx.post(
            url, content=NOTHING, auth=auth, headers={**headers, **HEADERS}, timeout=TIMEOUT
        )
        return response.status_code in REFUSED
    return False
