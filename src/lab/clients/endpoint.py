"""Where a Prometheus or a trace store answers, and the credentials that it requires.

Those of the stack are on this machine and require none. A remote one is named by variables, with
its secrets in files, so that none is in the environment or in a command line.
"""

import os
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.addresses import PLAIN_ADDRESS
from lab.errors import UserError

PREFIXES = ("PROMETHEUS", "TEMPO", "REMOTE_WRITE", "REMOTE_TRACES")
NAMES = ("URL", "USERNAME", "PASSWORD_FILE", "TOKEN_FILE", "CA_FILE", "TENANT")
VARIABLES = frozenset(f"{prefix}_{name}" for prefix in PREFIXES for name in NAMES)
"""All variables of remote endpoints; services of the stack do not inherit them."""
AUTHORIZATION, TENANT_HEADER = "Authorization", "X-Scope-OrgID"


@dataclass(frozen=True)
class Endpoint:
    """An address and what requests to it carry; without a prefix it is the stack's own."""

    url: str
    prefix: str = ""
    """The prefix of the variables that name it."""
    username: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    tenant: str = ""

    @property
    def is_remote(self) -> bool:
        return bool(self.prefix)

    @property
    def headers(self) -> dict[str, str]:
        """Tenant and credentials; raises UserError if a file does not hold any."""
        headers = {TENANT_HEADER: self.tenant} if self.tenant else {}
        if self.password_file:
            pair = f"{self.username}:{self._secret('PASSWORD_FILE', self.password_file)}"
            headers[AUTHORIZATION] = f"Basic {b64encode(pair.encode()).decode()}"
        if self.token_file:
            headers[AUTHORIZATION] = f"Bearer {self._secret('TOKEN_FILE', self.token_file)}"
        return headers

    @property
    def certificates(self) -> ssl.SSLContext | bool:
        """What its certificate is verified with: the CA alone, or the usual authorities."""
        if not self.ca_file:
            return True
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise UserError(
                f"{self.prefix}_CA_FILE: {self.ca_file} cannot be read ({error})."
            ) from error

    def _secret(self, name: str, file: Path) -> str:
        try:
            secret = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.prefix}_{name}: {file} cannot be read ({error}).") from error
        if not secret.isascii() or not secret.isprintable() or not secret:
            raise UserError(f"{self.prefix}_{name}: {file} does not hold one line of text.")
        return secret


def remote_endpoint(prefix: str, given: Mapping[str, str] = os.environ) -> Endpoint | None:
    """Return the endpoint that variables with this prefix name; None if there is none.

    Raises UserError for what cannot be meant.
    """
    values = {name: given.get(f"{prefix}_{name}", "").strip() for name in NAMES}
    url = values["URL"].rstrip("/")
    if not url:
        return None
    if not PLAIN_ADDRESS.fullmatch(url):
        raise UserError(  # it may hold a password, so it is not repeated
            f"{prefix}_URL is not an address such as https://metrics.example.org/prometheus, "
            f"without a user, a password and a query. {prefix}_USERNAME and {prefix}_PASSWORD_FILE "
            "hold those."
        )
    files = {
        name: Path(value).expanduser().resolve()
        for name, value in values.items()
        if name.endswith("_FILE") and value
    }
    if bool(values["USERNAME"]) != ("PASSWORD_FILE" in files):
        raise UserError(
            f"{prefix}_USERNAME and {prefix}_PASSWORD_FILE belong together: set both, or neither."
        )
    if {"PASSWORD_FILE", "TOKEN_FILE"} <= files.keys():
        raise UserError(f"Set {prefix}_PASSWORD_FILE or {prefix}_TOKEN_FILE, not both.")
    return Endpoint(
        url,
        prefix,
        username=values["USERNAME"],
        password_file=files.get("PASSWORD_FILE"),
        token_file=files.get("TOKEN_FILE"),
        ca_file=files.get("CA_FILE"),
        tenant=values["TENANT"],
    )
