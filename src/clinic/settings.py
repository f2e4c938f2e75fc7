"""Settings from environment variables, read once at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from os import environ
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from clinic.networks import Networks

PREFIX = "CLINIC_"
NO_NETWORKS = Networks()


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

    api_token: Annotated[str, Meta(min_length=16)] | None = field(default=None, repr=False)
    """Bearer token that all requests except health and schema need.

    Without a token, only loopback and `open_networks` have access.
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
        return settings.with_password()

    def with_password(self) -> "Settings":
        """Return settings whose `database_url` has the password from `database_password_file`."""
        if self.database_password_file is None:
            return self
        try:
            password = self.database_password_file.read_text().strip()
            url = make_url(self.database_url).set(password=password)
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}DATABASE_PASSWORD_FILE: {self.database_password_file} cannot be read "
                f"({error.strerror})."
            ) from None
        except ArgumentError:
            raise SettingsError(f"{PREFIX}DATABASE_URL: expected an SQLAlchemy URL.") from None
        return replace(self, database_url=url.render_as_string(hide_password=False))


def decode(kind: type[Any], value: str) -> Any:
    """Convert to a type that msgspec does not support."""
    return kind(value)
