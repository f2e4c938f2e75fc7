"""Whether the clinic lives, and whether it can serve."""

from litestar import Controller, get
from litestar.di import NamedDependency
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from clinic.database import Database
from clinic.problems import answers, database_away

PING = text("SELECT 1")


class Health(Struct):
    """A good answer."""

    status: str = "ok"


class HealthController(Controller):
    tags = ("Health",)
    security = ()

    @get("/livez", operation_id="live", summary="Is the process alive?")
    async def live(self) -> Health:
        """Answer, and touch nothing."""
        return Health()

    @get("/readyz", operation_id="ready", summary="Can it serve?", responses=answers(503))
    async def ready(self, database: NamedDependency[Database]) -> Health:
        """Answer 200 when the database answers, else 503 naming what is down."""
        try:
            await database.one(PING)
        except (SQLAlchemyError, OSError) as error:
            raise database_away() from error
        return Health()
