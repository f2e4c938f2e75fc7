"""What can be set from outside, read once at the start."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import environ
from typing import Annotated

import msgspec
from msgspec import Meta

PREFIX = "CLINIC_"


class SettingsError(Exception):
    """A variable of the environment has a value that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each field is set by the environment variable of its name, `CLINIC_` before it."""

    database_url: str = field(
        default="postgresql+asyncpg://clinic@127.0.0.1:5432/clinic", repr=False
    )
    """SQLAlchemy's address of the PostgreSQL database, with the asyncpg driver."""

    host: str = "127.0.0.1"
    """The address to listen on."""

    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """The port to listen on; 0 takes a free one."""

    api_token: Annotated[str, Meta(min_length=16)] | None = field(default=None, repr=False)
    """Bearer token that every call but health and schema needs; unset, only loopback may call."""

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
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at `$.")
            raise SettingsError(f"{PREFIX}{path.rstrip('`').upper()}: {problem}.") from None
