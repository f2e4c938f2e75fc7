"""HTTP to the services of the stack and to remote ones: one timeout, one set of error messages."""

import ssl
from typing import Any, Self

import httpx

from lab.addresses import shown_address
from lab.clients.endpoint import Endpoint
from lab.console import plain
from lab.errors import UserError

TIMEOUT = 20.0
REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class HttpClient:
    """A client of one service, whose failures are raised as `error`.

    Redirects are not followed, so that credentials reach no other host.
    """

    def __init__(
        self, name: str, endpoint: Endpoint | str, error: type[UserError] = UserError
    ) -> None:
        self.endpoint = endpoint if isinstance(endpoint, Endpoint) else Endpoint(endpoint)
        url = self.endpoint.url.rstrip("/")
        # As it is shown: the path of a remote one may hold a token.
        self.url = shown_address(url) if self.endpoint.is_remote else url
        self.name, self._error = name, error
        self._client = httpx.Client(
            base_url=url,
            timeout=TIMEOUT,
            headers=self.endpoint.headers,
            verify=self.endpoint.certificates,
            # The stack listens on loopback addresses, which no proxy can reach.
            trust_env=self.endpoint.is_remote,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the response, whatever its status; an empty path is the endpoint itself.

        That a remote service refuses the credentials, or redirects, is an error.
        """
        prefix = self.endpoint.prefix
        options["headers"] = {"Accept": "application/json", **options.get("headers", {})}
        try:
            response = self._client.request(method, path or self.endpoint.url, **options)
        except httpx.TimeoutException:
            hint = f"Check {prefix}_URL." if prefix else "See `just status`."
            raise self._error(
                f"{self.name} at {self.url} did not answer within {TIMEOUT:g} s. {hint}"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if prefix and is_untrusted(error):
                raise self._error(
                    f"The certificate of {self.name} at {self.url} is not trusted: "
                    f"{prefix}_CA_FILE must name that of the authority that signed it."
                ) from None
            hint = f"Check {prefix}_URL." if prefix else "Run `just up`."
            raise self._error(f"{self.name} does not answer at {self.url}. {hint}") from None
        if prefix and response.status_code in REFUSED:
            raise self._error(
                f"{self.name} at {self.url} refuses the credentials (status "
                f"{response.status_code}): check {prefix}_USERNAME and {prefix}_PASSWORD_FILE, or "
                f"{prefix}_TOKEN_FILE, and {prefix}_TENANT."
            )
        if prefix and response.is_redirect:
            raise self._error(
                f"{self.name} at {self.url} redirects to another address, which is not followed, "
                f"so that credentials reach no other host: set {prefix}_URL to that address."
            )
        return response

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


def is_untrusted(error: BaseException) -> bool:
    """Tell whether a certificate that could not be verified is the cause of an error."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    return any(isinstance(it, ssl.SSLCertVerificationError) for it in causes)
