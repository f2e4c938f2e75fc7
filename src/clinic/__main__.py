"""`python -m clinic` serves the API, `python -m clinic migrate` brings its database up to date."""

import logging
import sys
from argparse import ArgumentParser

import uvicorn
from advanced_alchemy.alembic.commands import AlembicCommands
from sqlalchemy.exc import SQLAlchemyError

from clinic.database import database_config
from clinic.logs import log_as_json
from clinic.settings import Settings, SettingsError

log = logging.getLogger("clinic")


def main() -> int:
    """Run the command and return its exit status."""
    parser = ArgumentParser(prog="python -m clinic", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve", "migrate"], default="serve")
    command = parser.parse_args().command
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        parser.error(str(error))
    log_as_json()
    return migrate(settings) if command == "migrate" else serve(settings)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is under way."""
    uvicorn.run(
        "clinic.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    return 0


def migrate(settings: Settings) -> int:
    """Bring the database to the newest schema."""
    try:
        AlembicCommands(database_config(settings)).upgrade()
    except (SQLAlchemyError, OSError) as error:
        log.exception("The database cannot be migrated: %s", type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
