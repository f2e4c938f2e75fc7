"""Liveness and readiness."""

from litestar import Controller, get
from litestar.di import NamedDependency
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from clinic.database import Database
from clinic.openapi import error_responses
from clinic.problems import database_unavailable

PING = text("SELECT 1")


class Health(Struct):
    status: str = "ok"


class HealthController(Controller):
    tags = ("Health",)
    security = ()

    @get("/livez", operation_id="live", summary="Check liveness")
    async def live(self) -> Health:
        """Return 200 while the process runs, whatever the state of the database."""
        return Health()

    @get(
        "/readyz",
        operation_id="ready",
        summary="Check readiness",
        responses=error_responses(503),
    )
    async def ready(self, database: NamedDependency[Database]) -> Health:
        """Return 200 if the database is available, else 503; `down` names what is unavailable."""
        try:
            await database.one(PING)
        except (SQLAlchemyError, OSError) as error:
            raise database_unavailable() from error
        return Health()
