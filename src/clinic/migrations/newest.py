"""Whether there is anything to migrate, without Alembic: its import takes seconds."""

import asyncio
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]

from clinic.migrations import NEWEST
from clinic.settings import Settings

DRIVER = "+asyncpg"


def is_newest(settings: Settings) -> bool:
    """Say whether the database has the newest schema; False if that cannot be read."""
    url = settings.database_url
    if urlsplit(url).query:  # options of SQLAlchemy, TLS among them, which asyncpg calls otherwise
        return False
    try:
        return asyncio.run(numbers(url.replace(DRIVER, "", 1), settings.pool_timeout)) == [NEWEST]
    except Exception:  # noqa: BLE001 Alembic says what is wrong
        return False


async def numbers(url: str, timeout: float) -> list[str]:  # noqa: ASYNC109 asyncpg's own
    connection = await asyncpg.connect(url, timeout=timeout, command_timeout=timeout)
    try:
        rows = await connection.fetch("SELECT version_num FROM alembic_versions")
    finally:
        await connection.close()
    return [row["version_num"] for row in rows]
