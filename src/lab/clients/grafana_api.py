"""Grafana's HTTP API: folders, dashboards and data sources of any Grafana."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from lab.console import plain
from lab.errors import UserError

TIMEOUT = 30.0
FORBIDDEN, NOT_FOUND = httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND
# No proxy can reach it.
LOOPBACK = r"https?://(127\.0\.0\.1|localhost|\[::1\])(:|/|$)"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A data source of Grafana."""

    uid: str
    name: str
    type: str


def read_token(file: Path) -> str:
    """Read a service account's token; raise where the file is not one line."""
    try:
        lines = file.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The token cannot be read: {error}.") from None
    token = lines[0].strip()
    if not token or not token.isascii() or not token.isprintable() or any(lines[1:]):
        raise UserError(f"{file} does not hold one line with a token.")
    return token


class GrafanaApi:
    """A client of one Grafana. Its failures are UserErrors, which never hold the token."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", self.url):
            raise UserError(  # it may hold a password, so it is not repeated
                "The address of Grafana is not like https://grafana.example.org, without a user, a "
                "password and a query."
            )
        self._client = httpx.Client(
            timeout=TIMEOUT,
            trust_env=not re.match(LOOPBACK, self.url),
            headers={"Accept": "application/json"}
            | ({"Authorization": f"Bearer {token}"} if token else {}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def version(self) -> str:
        """Return Grafana's version; raise where the address is not Grafana's."""
        answer = self._json("GET", "/api/health")
        if not isinstance(answer, dict) or "database" not in answer:
            raise UserError(f"{self.url} answers, but not as Grafana does.")
        return str(answer.get("version", "of an unknown version"))

    def folder(self, uid: str) -> Json | None:
        """Return a folder, or None where the token may read none of that uid.

        Grafana answers with 403, not 404, where an Editor asks for a folder that does not exist.
        """
        found = self._json("GET", f"/api/folders/{uid}", missing=(FORBIDDEN, NOT_FOUND))
        return found if isinstance(found, dict) else None

    def create_folder(self, uid: str, title: str) -> None:
        self._json("POST", "/api/folders", json={"uid": uid, "title": title})

    def dashboard(self, uid: str) -> Json | None:
        """Return a dashboard with its `meta`, or None where there is none of that uid."""
        found = self._json("GET", f"/api/dashboards/uid/{uid}", missing=(NOT_FOUND,))
        return found if isinstance(found, dict) else None

    def save_dashboard(self, dashboard: Json, folder_uid: str, message: str) -> None:
        """Create a dashboard, or a new version of the one that has its uid."""
        body = {"folderUid": folder_uid, "message": message, "overwrite": True}
        self._json("POST", "/api/dashboards/db", json={"dashboard": dashboard, **body})

    def sources(self) -> list[Source] | None:
        """Return the data sources; None where the token may not list them."""
        response = self._request("GET", "/api/datasources")
        if response.status_code == FORBIDDEN:
            return None
        found = self._read("GET", "/api/datasources", response)
        return [Source(it["uid"], it["name"], it["type"]) for it in found]

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._client.request(method, self.url + path, **options)
        except httpx.TimeoutException:
            raise UserError(f"Grafana at {self.url} did not answer within {TIMEOUT:g} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UserError(
                f"Grafana at {self.url} cannot be reached: {plain(error) or 'no answer'}."
            ) from None
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise UserError(
                f"Grafana at {self.url} refuses the token (status 401). Make one for a service "
                "account with the role Editor, and name its file by --token-file."
            )
        return response

    def _json(self, method: str, path: str, *, missing: Sequence[int] = (), **options: Any) -> Any:
        response = self._request(method, path, **options)
        if response.status_code in missing:
            return None
        return self._read(method, path, response)

    def _read(self, method: str, path: str, response: httpx.Response) -> Any:
        if response.status_code == FORBIDDEN:
            raise UserError(
                f"The token may not {method} {path} in Grafana at {self.url} (status 403): it "
                f"needs the role Editor. {self._message(response)}".rstrip()
            )
        if response.is_redirect:
            raise UserError(
                f"{self.url} redirects to {plain(response.headers.get('location', ''))}: give "
                "Grafana's own address."
            )
        if not response.is_success:
            raise UserError(
                f"Grafana at {self.url} refuses {method} {path} (status {response.status_code}): "
                f"{self._message(response)}"
            )
        try:
            return response.json()
        except ValueError:
            raise UserError(f"{self.url} answers, but not as Grafana does.") from None

    def _message(self, response: httpx.Response) -> str:
        try:
            return plain(response.json()["message"])
        except (ValueError, KeyError, TypeError):
            return plain(response.text)
