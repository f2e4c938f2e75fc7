"""Commands that change the database's schema."""

import logging
from dataclasses import replace

from advanced_alchemy.alembic.commands import AlembicCommands
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from clinic import migrations
from clinic.database import database_config
from clinic.logs import causes
from clinic.settings import Settings

MIGRATION_SECONDS = 3600
"""Longest statement of a migration: an index of a large table takes minutes."""

log = logging.getLogger("clinic")


def migrate(settings: Settings, down_to: str | None = None) -> int:
    """Upgrade the database to the newest schema, or return to an older one."""
    commands = AlembicCommands(
        database_config(replace(settings, statement_timeout=MIGRATION_SECONDS))
    )
    try:
        if down_to:
            commands.downgrade(down_to)
        else:
            commands.upgrade()
    except CommandError:
        reason = (
            f"to {down_to}: it is older already, or newer than the API"
            if down_to
            else "to the newest schema: another version of the API has migrated it"
        )
        log.error("Cannot migrate the database %s", reason)  # noqa: TRY400 the traceback says no more
        return 1
    except (SQLAlchemyError, OSError) as error:
        *_, root_cause = causes(error)
        log.exception("Cannot migrate the database (%s)", type(root_cause).__name__)
        return 1
    return 0


def write_revision(settings: Settings, message: str) -> int:
    """Write a migration from the difference between models and database, numbered in sequence."""
    number = len(migrations.NUMBERS) + 1
    AlembicCommands(database_config(settings)).revision(
        message, autogenerate=True, rev_id=f"{number:04}"
    )
    return 0
