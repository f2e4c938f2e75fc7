"""The application and its parts."""

import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from advanced_alchemy.extensions.litestar import SQLAlchemyInitPlugin
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.trace.export import SpanExporter

from clinic.appointments.controller import AppointmentController
from clinic.auth import COMPONENTS, SCHEME, make_guard
from clinic.body import JSONRequest
from clinic.database import Database, database_config
from clinic.health import HealthController
from clinic.owners.controller import OwnerController
from clinic.pets.controller import PetController
from clinic.problems import problem_response
from clinic.settings import Settings
from clinic.telemetry import Telemetry


def create_app(
    settings: Settings | None = None,
    *,
    exporter: SpanExporter | None = None,
    reader: MetricReader | None = None,
) -> Litestar:
    """Create the ASGI app; read the settings from the environment unless given."""
    settings = settings or Settings.from_env()
    config = database_config(settings)
    engine = config.get_engine()
    database = Database(engine)
    telemetry = Telemetry(engine, load_runs=settings.load_runs, exporter=exporter, reader=reader)
    clinic = Router(
        "/",
        route_handlers=[OwnerController, PetController, AppointmentController],
        guards=[make_guard(settings.api_token, settings.open_networks)],
        security=[{SCHEME: []}] if settings.api_token else None,
    )
    return Litestar(
        [clinic, HealthController],
        dependencies={"database": Provide(lambda: database, sync_to_thread=False)},
        exception_handlers={Exception: problem_response},
        lifespan=[telemetry.lifespan, freeze_gc],
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Veterinary clinic",
            version=version("vet-clinic"),
            description="Owners, their pets, and the appointments of those pets.",
            path="/schema",
            render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()],
            components=COMPONENTS,
            use_handler_docstrings=True,
        ),
        # It disposes the engine at shutdown; no handler asks for its session.
        plugins=[SQLAlchemyInitPlugin(config)],
        request_class=JSONRequest,
        request_max_body_size=settings.max_body_size,
        state=State({"database": database, "telemetry": telemetry}),
    )


@asynccontextmanager
async def freeze_gc(_: Litestar) -> AsyncGenerator[None]:
    """Exempt the objects made at start from garbage collection.

    Measured: full collections made the 99th percentile of request durations four times as long.
    """
    gc.collect()
    gc.freeze()
    yield
