"""HTTP to the services of the stack: one timeout and one set of error messages."""

from typing import Any, Self

import httpx

from lab.console import plain
from lab.errors import UserError

TIMEOUT = 20.0


class HttpClient:
    """A client of one service, whose failures are raised as `error`."""

    def __init__(self, name: str, url: str, error: type[UserError] = UserError) -> None:
        self.name, self.url, self._error = name, url.rstrip("/"), error
        # The stack listens on loopback addresses, which no proxy can reach.
        self._client = httpx.Client(base_url=self.url, timeout=TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the response, whatever its status."""
        try:
            return self._client.request(
                method, path, headers={"Accept": "application/json"}, **options
            )
        except httpx.TimeoutException:
            message = f"did not answer within {TIMEOUT:g} s: see `just status`."
            raise self._error(f"{self.name} at {self.url} {message}") from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise self._error(
                f"{self.name} does not answer at {self.url}. Run `just up`."
            ) from None

    def json(self, method: str, path: str, *, allow_missing: bool = False, **options: Any) -> Any:
        """Return the JSON of a response; None where it is empty, or 404 if that is allowed."""
        response = self.request(method, path, **options)
        if allow_missing and response.status_code == httpx.codes.NOT_FOUND:
            return None
        try:
            response.raise_for_status()
            return response.json() if response.content else None
        except (httpx.HTTPStatusError, ValueError):
            raise self._error(
                f"{self.name} at {self.url} cannot answer {method} {path} "
                f"(status {response.status_code}): {plain(response.text)}"
            ) from None
