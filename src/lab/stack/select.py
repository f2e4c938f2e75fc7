"""Choose the backend: STACK_BACKEND, else that of the running stack, else Docker if it answers."""

import os

from lab.errors import UserError
from lab.stack.base import Stack
from lab.stack.config import BACKEND_VARIABLE, HOST, StackConfig, saved_backend
from lab.stack.docker import DOCKER, Compose, DockerStack
from lab.stack.native import NATIVE, NativeStack


def choose(config: StackConfig) -> Stack:
    wanted = os.environ.get(BACKEND_VARIABLE) or None
    if wanted not in (None, DOCKER, NATIVE):
        raise UserError(f"{BACKEND_VARIABLE} is {wanted!r}; expected {DOCKER} or {NATIVE}.")
    backend = wanted or saved_backend(config.state)
    if backend == NATIVE:
        return NativeStack(config)
    unavailable = Compose(config).unavailable()
    if wanted == DOCKER and unavailable:
        raise UserError(f"{BACKEND_VARIABLE} is {DOCKER}, but {unavailable}.")
    if backend is None and unavailable:
        return NativeStack(config, unavailable)
    return DockerStack(config)


def in_docker(config: StackConfig) -> bool:
    """Return whether the stack at the configured ports runs in Docker, so k6 has to as well."""
    if not isinstance(choose(config), DockerStack):
        return False
    if os.environ.get(BACKEND_VARIABLE) or saved_backend(config.state):
        return True
    # An engine that answers may run none of the stack, or another one.
    return Compose(config).published("gateway", 9090) == f"{HOST}:{config.prometheus_port}"
