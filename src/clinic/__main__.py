"""Command line of the API: `clinic` or `python -m clinic`."""

import logging
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import replace

import uvicorn
from advanced_alchemy.alembic.commands import AlembicCommands
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from clinic.connection import Limits
from clinic.database import MIGRATIONS, database_config
from clinic.logs import causes, log_as_json
from clinic.otel import check_variables
from clinic.settings import Settings, SettingsError

EPILOG = """\
Settings are environment variables, among them CLINIC_DATABASE_URL, CLINIC_HOST, CLINIC_PORT,
CLINIC_API_TOKEN and OpenTelemetry's OTEL_*.

exit status: 0 on success, 1 if the database cannot be migrated, 2 for an invalid setting
"""

MIGRATION_SECONDS = 3600
"""Longest statement of a migration: an index of a large table takes minutes."""

log = logging.getLogger("clinic")


def main() -> int:
    """Run the command and return its exit status."""
    parser = ArgumentParser(
        prog="clinic",
        usage="%(prog)s [-h] [serve | check | migrate | downgrade REVISION | revision MESSAGE]",
        description="Veterinary clinic API: owners, their pets and the pets' appointments.",
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="", prog="clinic")
    commands.add_parser("serve", help="serve the API until SIGTERM or SIGINT (default)")
    commands.add_parser("check", help="check the settings, then exit")
    commands.add_parser("migrate", help="upgrade the database to the newest schema, then exit")
    downgrade = commands.add_parser("downgrade", help="return to an older schema, then exit")
    downgrade.add_argument("revision", choices=revisions(), help="number of the schema")
    revision = commands.add_parser("revision", help="write a migration from the models' changes")
    revision.add_argument("message", help='what it does, such as "add owner.birthday"')
    arguments = parser.parse_args()
    try:
        settings = Settings.from_env()
        if arguments.command in {None, "serve", "check"}:
            settings.check_address()
        check_variables()
    except SettingsError as error:
        parser.error(str(error))
    log_as_json()
    match arguments.command:
        case "check":
            return 0
        case "migrate":
            return migrate(settings)
        case "downgrade":
            return migrate(settings, down_to=arguments.revision)
        case "revision":
            return write_revision(settings, arguments.message)
        case _:
            return serve(settings)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; finish the requests in progress."""
    # OpenTelemetry reads variables when it is imported, and fails where it cannot.
    from clinic import workers  # noqa: PLC0415 - after the variables have been checked
    from clinic.telemetry import SHUTDOWN_SECONDS  # noqa: PLC0415 - see above
    from clinic.telemetry.arrival import HTTPProtocol  # noqa: PLC0415 - see above

    HTTPProtocol.limits = Limits(
        settings.request_timeout, settings.max_connections, settings.max_body_size
    )
    config = uvicorn.Config(
        "clinic.app:create_app",
        factory=True,
        http=HTTPProtocol,
        ws="none",
        workers=1,  # else uvicorn reads WEB_CONCURRENCY; it does not start them itself
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=settings.statement_timeout,
    )
    if settings.workers == 1:
        return workers.serve(config)
    stop_seconds = settings.statement_timeout + SHUTDOWN_SECONDS + 2
    return workers.serve_with_workers(config, settings.workers, stop_seconds)


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


def revisions() -> list[str]:
    """Return the numbers of all migrations."""
    return sorted(
        file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py")
    )


def write_revision(settings: Settings, message: str) -> int:
    """Write a migration from the difference between models and database, numbered in sequence."""
    number = len(revisions()) + 1
    AlembicCommands(database_config(settings)).revision(
        message, autogenerate=True, rev_id=f"{number:04}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
