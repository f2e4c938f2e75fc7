"""A trace store of the native stack behind its gateway, without the rest of the stack."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lab import credentials
from lab.stack import services
from lab.stack.config import StackConfig
from lab.stack.programs import find_on_path
from lab.stack.service import InternalPorts, Service
from tests.support.native_stack import NativeStack
from tests.support.programs import running


def settings(folder: Path) -> tuple[StackConfig, InternalPorts]:
    """Return free ports and a state folder that has the services' credentials."""
    config = NativeStack(folder).config
    credentials.write(config.credentials)
    return config, InternalPorts.free()


def trace_store(store: str, config: StackConfig, internal: InternalPorts) -> Service:
    """Return a trace store, which answers at its public address once it is ready."""
    if store == "jaeger":
        service, path = services.jaeger_service(config, internal), "/api/services"
    else:
        program = find_on_path("tempo")
        if program is None:
            pytest.skip("Tempo is not on PATH, and cannot be built: only Jaeger is tried here")
        service, path = services.tempo_service(config, internal, program), "/api/echo"
    return replace(service, health=config.traces_url + path)


@contextmanager
def running_services(folder: Path, *stack: Service) -> Iterator[None]:
    """Run services in this order; stop them in the reverse one."""
    with ExitStack() as programs:
        for it in stack:
            log = folder / f"{it.name}.log"
            programs.enter_context(
                running([*it.command], log, it.health, it.folder, **it.environment)
            )
        yield
