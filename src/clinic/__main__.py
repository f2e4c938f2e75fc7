"""Command line of the API: `clinic` or `python -m clinic`."""

import logging
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from clinic import migrations
from clinic.logs import log_as_json
from clinic.otel import check_variables
from clinic.settings import Settings, SettingsError

EPILOG = """\
Settings are environment variables, among them CLINIC_DATABASE_URL, CLINIC_HOST, CLINIC_PORT,
CLINIC_API_TOKEN and OpenTelemetry's OTEL_*.

exit status: 0 on success, 1 if the database cannot be migrated, 2 for an invalid setting
"""


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
    downgrade.add_argument("revision", choices=migrations.NUMBERS, help="number of the schema")
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
        case "migrate" | "downgrade" | "revision":
            return change_schema(arguments, settings)
        case _:
            return serve(settings)


def change_schema(arguments: Namespace, settings: Settings) -> int:
    """Run a command of the database's schema."""
    # Alembic and SQLAlchemy take seconds to import; most starts find the newest schema.
    from clinic.migrations.newest import is_newest  # noqa: PLC0415 - see above

    if arguments.command == "migrate" and is_newest(settings):
        return 0
    # It logs a line for each of its own parts when it is imported.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    from clinic.migrations.commands import migrate, write_revision  # noqa: PLC0415 - see above

    match arguments.command:
        case "migrate":
            return migrate(settings)
        case "downgrade":
            return migrate(settings, down_to=arguments.revision)
        case _:
            return write_revision(settings, arguments.message)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; finish the requests in progress."""
    # OpenTelemetry reads variables when it is imported, and fails where it cannot. The other
    # commands need nothing of this.
    import uvicorn  # noqa: PLC0415 - see above
    from uvicorn.config import STARTUP_FAILURE  # noqa: PLC0415 - see above

    from clinic import workers  # noqa: PLC0415 - after the variables have been checked
    from clinic.connection import Limits  # noqa: PLC0415 - see above
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
    if settings.workers == 1 and settings.shared_port is None:
        return workers.serve(config)
    try:
        sockets = workers.bind(settings.host, settings.port, settings.workers, settings.shared_port)
    except OSError as error:
        logging.getLogger("clinic").error("%s", error)  # noqa: TRY400 the traceback says no more
        return STARTUP_FAILURE
    if settings.workers == 1:
        return workers.serve(config, sockets[0])
    stop_seconds = settings.statement_timeout + SHUTDOWN_SECONDS + 2
    return workers.serve_with_workers(config, sockets, stop_seconds)


if __name__ == "__main__":
    sys.exit(main())
