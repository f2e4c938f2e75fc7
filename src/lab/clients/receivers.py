"""Ask a receiver of samples or spans whether it takes them, before there are any."""

from collections.abc import Mapping
from contextlib import suppress

import httpx

from lab.clients.endpoint import Endpoint
from lab.clients.http import REFUSED, TIMEOUT, HttpClient
from lab.errors import UserError

NOTHING = b"\0"
"""A request without samples: an empty message in a block of snappy."""
HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def check_remote_write(endpoint: Endpoint) -> None:
    """Raise UserError unless a receiver answers and accepts the credentials."""
    with HttpClient("The receiver of remote write", endpoint) as http:
        http.json("POST", "", content=NOTHING, headers=HEADERS)


def check_otlp(endpoint: Endpoint) -> None:
    """Raise UserError unless a receiver of spans answers and accepts the credentials."""
    headers = {"Content-Type": HEADERS["Content-Type"]}
    with HttpClient("The receiver of traces", endpoint) as http:
        response = http.request("POST", "/v1/traces", content=b"", headers=headers)
    if response.is_error:
        raise UserError(
            f"The receiver of traces at {http.url} answers with status {response.status_code}: "
            f"check {endpoint.prefix}_URL, to which /v1/traces is added."
        )


def refuses(url: str, auth: tuple[str, str] | None, headers: Mapping[str, str]) -> bool:
    """Say whether a receiver refuses these credentials; False if it does not answer this way."""
    with suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
        response = httpx.post(
            url, content=NOTHING, auth=auth, headers={**headers, **HEADERS}, timeout=TIMEOUT
        )
        return response.status_code in REFUSED
    return False
