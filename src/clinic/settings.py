"""Settings from environment variables, read once at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from os import environ
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from clinic.hosts import Hosts
from clinic.networks import Networks, parse_address

PREFIX = "CLINIC_"
MIN_TOKEN = 16
"""Characters that a token has at least."""
NO_NETWORKS = Networks()
NO_HOSTS = Hosts()


class SettingsError(Exception):
    """An environment variable has an invalid value."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each field is read from the environment variable `CLINIC_` and its name in capitals."""

    database_url: str = field(
        default="postgresql+asyncpg://clinic@127.0.0.1:5432/clinic", repr=False
    )
    """SQLAlchemy URL of the PostgreSQL database, with the asyncpg driver."""

    database_password_file: Path | None = None
    """File with the password for `database_url`, for example a container secret."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """Port to listen on; 0 selects a free one."""

    shared_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    """Further port, which other replicas share: Linux distributes connections over them."""

    replicas: Annotated[int, Meta(ge=1, le=64)] = 1
    """Replicas that should serve together, this one included: an alert fires if one is missing."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes that serve; each has its own pool and its own limit of connections."""

    api_token: Annotated[str, Meta(min_length=MIN_TOKEN)] | None = field(default=None, repr=False)
    """Bearer token that all requests except health and schema need.

    Without a token, only loopback and `open_networks` have access.
    """

    api_token_file: Path | None = None
    """File with the token, for example a container secret."""

    allowed_hosts: Hosts = NO_HOSTS
    """Further names in the header `Host` that are answered.

    Without a token, those of this machine and of the API's container are; with a token, any is
    unless this is set.
    """

    open_networks: Networks = NO_NETWORKS
    """Private networks that have access like loopback, for example that of the containers."""

    pool_size: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Connections to PostgreSQL per process."""

    pool_timeout: Annotated[int, Meta(ge=1)] = 5
    """Seconds to wait for a free connection; then the response is 503."""

    statement_timeout: Annotated[int, Meta(ge=1)] = 10
    """Seconds that a statement may take; then the response is 503."""

    max_body_size: Annotated[int, Meta(ge=1024)] = 65536
    """Maximum size of a request body in bytes; beyond it the response is 413."""

    max_connections: Annotated[int, Meta(ge=1)] = 1000
    """Connections of clients per process at one time; beyond it the response is 503."""

    request_timeout: Annotated[int, Meta(ge=1)] = 30
    """Seconds in which a request must arrive, else 408, and in which a client must read."""

    keep_alive: Annotated[int, Meta(ge=1)] = 120
    """Seconds that a connection may be idle; longer than proxies keep theirs, usually 60 to 90."""

    load_runs: bool = True
    """Whether W3C baggage may assign a request to a k6 run, whose requests are always sampled."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = environ) -> "Settings":
        """Read the settings; for an invalid value, raise SettingsError with its variable."""
        values = {
            setting.name: value
            for setting in fields(cls)
            if (value := env.get(PREFIX + setting.name.upper(), "").strip())
        }
        try:
            settings = msgspec.convert(values, cls, strict=False, dec_hook=decode)
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at `$.")
            raise SettingsError(f"{PREFIX}{path.rstrip('`').upper()}: {problem}.") from None
        return settings.with_password().with_token()

    def with_password(self) -> "Settings":
        """Return settings whose `database_url` has the password from `database_password_file`."""
        if self.database_password_file is None:
            return self
        # Their import takes longer than all else that most commands do.
        from sqlalchemy import make_url  # noqa: PLC0415 - see above
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - see above

        password = read_secret(self.database_password_file, "DATABASE_PASSWORD_FILE")
        try:
            url = make_url(self.database_url).set(password=password)
        except ArgumentError:
            raise SettingsError(f"{PREFIX}DATABASE_URL: expected an SQLAlchemy URL.") from None
        return replace(self, database_url=url.render_as_string(hide_password=False))

    def with_token(self) -> "Settings":
        """Return settings whose `api_token` is that of `api_token_file`."""
        if self.api_token_file is None:
            return self
        if self.api_token is not None:
            raise SettingsError(f"Set {PREFIX}API_TOKEN or {PREFIX}API_TOKEN_FILE, not both.")
        token = read_secret(self.api_token_file, "API_TOKEN_FILE")
        if len(token) < MIN_TOKEN:
            raise SettingsError(
                f"{PREFIX}API_TOKEN_FILE: expected a token of at least {MIN_TOKEN} characters."
            )
        return replace(self, api_token=token)

    def check_address(self) -> None:
        """Raise SettingsError if others can reach the API and nothing says who may call it."""
        address = parse_address(self.host)
        is_loopback = address.is_loopback if address else self.host == "localhost"
        if not (is_loopback or self.api_token or self.open_networks.members):
            raise SettingsError(
                f"{PREFIX}HOST: {self.host} is beyond this machine; set {PREFIX}API_TOKEN, or "
                f"{PREFIX}OPEN_NETWORKS to the private networks that may call without a token."
            )


def read_secret(file: Path, name: str) -> str:
    """Read a secret from the file that this setting names."""
    try:
        return file.read_text().strip()
    except UnicodeDecodeError:
        raise SettingsError(f"{PREFIX}{name}: {file} is not text.") from None
    except OSError as error:
        raise SettingsError(f"{PREFIX}{name}: {file} cannot be read ({error.strerror}).") from None


def decode(kind: type[Any], value: str) -> Any:
    """Convert to a type that msgspec does not support."""
    return kind(value)
