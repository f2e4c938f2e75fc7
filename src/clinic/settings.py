"""What can be set from outside, read once at the start."""

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
    """A variable of the environment has a value that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each field is set by the environment variable of its name, `CLINIC_` before it."""

    database_url: str = field(
        default="postgresql+asyncpg://clinic@127.0.0.1:5432/clinic", repr=False
    )
    """SQLAlchemy's address of the PostgreSQL database, with the asyncpg driver."""

    database_password_file: Path | None = None
    """The file that holds the password for `database_url`, as a secret of a container does."""

    host: str = "127.0.0.1"
    """The address to listen on."""

    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """The port to listen on; 0 takes a free one."""

    api_token: Annotated[str, Meta(min_length=16)] | None = field(default=None, repr=False)
    """Bearer token that every call but health and schema needs; unset, only loopback may call."""

    open_networks: Networks = NO_NETWORKS
    """Private networks that may call as loopback may: a container's own, for one."""

    pool_size: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Connections to PostgreSQL for each worker."""

    pool_timeout: Annotated[int, Meta(ge=1)] = 5
    """Seconds to wait for a connection before the answer is 503."""

    statement_timeout: Annotated[int, Meta(ge=1)] = 10
    """Seconds a statement may take before the answer is 503."""

    max_body_size: Annotated[int, Meta(ge=1024)] = 65536
    """Largest request body in bytes; a larger one is answered with 413."""

    load_runs: bool = True
    """Whether a request may name its k6 run by baggage, which marks and always samples it."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = environ) -> "Settings":
        """Read the settings; an unusable value raises SettingsError naming its variable."""
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
        """Put the password of the file, where there is one, into the database's address."""
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
            raise SettingsError(f"{PREFIX}DATABASE_URL: expected a URL of SQLAlchemy.") from None
        return replace(self, database_url=url.render_as_string(hide_password=False))


def decode(kind: type[Any], value: str) -> Any:
    """Read those kinds of settings that msgspec does not know."""
    return kind(value)
