"""Which stack the commands mean: containers where a Docker engine answers, else processes."""

import os
import sys

from lab.console import say
from lab.errors import UserError
from lab.stack.base import Stack
from lab.stack.config import BACKEND_VARIABLE, HOST, StackConfig, saved_backend
from lab.stack.docker import DOCKER, Compose, DockerStack
from lab.stack.native import NATIVE, NativeStack

STACKS: dict[str, type[DockerStack] | type[NativeStack]] = {
    DOCKER: DockerStack,
    NATIVE: NativeStack,
}


def choose(config: StackConfig) -> Stack:
    """Choose what is asked for, or else what runs, or else what this machine can."""
    asked = forced()
    why_not = "" if asked == NATIVE else Compose(config).unavailable()
    if asked == DOCKER and why_not:
        raise UserError(f"{BACKEND_VARIABLE}={DOCKER} asks for containers, but {why_not}.")
    backend = asked or saved_backend(config.state)
    if backend is None and why_not and "up" in sys.argv[1:]:
        say(
            f"The stack runs as processes of this machine, as {why_not}. "
            f"{BACKEND_VARIABLE}={DOCKER} or {NATIVE} chooses by hand."
        )
    return STACKS[backend or (NATIVE if why_not else DOCKER)](config)


def in_containers(config: StackConfig) -> bool:
    """Tell whether the stack that answers at these ports is the one in containers."""
    backend = forced() or saved_backend(config.state)
    if backend is not None:
        return backend == DOCKER
    published = Compose(config).published("prometheus", 9090)
    return published == f"{HOST}:{config.prometheus_port}"


def forced() -> str | None:
    backend = os.environ.get(BACKEND_VARIABLE) or None
    if backend not in (None, *STACKS):
        raise UserError(
            f"{BACKEND_VARIABLE} is {backend!r}; expected {DOCKER} or {NATIVE}, or nothing."
        )
    return backend
