"""Which bundle the commands mean: containers where a Docker engine answers, else processes."""

import os
import sys

from observability.bundle import HOST, WAY_VARIABLE, Bundle, BundleError, saved_way
from observability.containers.engine import DOCKER, Engine
from observability.containers.way import Containers
from observability.native.lifecycle import NATIVE
from observability.native.programs import say
from observability.native.way import Native
from observability.way import Way

WAYS: dict[str, type[Containers] | type[Native]] = {DOCKER: Containers, NATIVE: Native}


def choose(bundle: Bundle) -> Way:
    """Choose what is asked for, or else what runs, or else what this machine can."""
    asked = forced()
    why_not = "" if asked == NATIVE else Engine(bundle).why_not()
    if asked == DOCKER and why_not:
        raise BundleError(f"{WAY_VARIABLE}={DOCKER} asks for containers, but {why_not}.")
    way = asked or saved_way(bundle.state)
    if way is None and why_not and "up" in sys.argv[1:]:
        say(
            f"The bundle runs as processes of this machine, as {why_not}. "
            f"{WAY_VARIABLE}={DOCKER} or {NATIVE} chooses by hand."
        )
    return WAYS[way or (NATIVE if why_not else DOCKER)](bundle)


def in_containers(bundle: Bundle) -> bool:
    """Tell whether the bundle that answers at these ports is the one in containers."""
    way = forced() or saved_way(bundle.state)
    if way is not None:
        return way == DOCKER
    published = Engine(bundle).published("prometheus", 9090)
    return published == f"{HOST}:{bundle.prometheus_port}"


def forced() -> str | None:
    way = os.environ.get(WAY_VARIABLE) or None
    if way not in (None, *WAYS):
        raise BundleError(f"{WAY_VARIABLE} is {way!r}; expected {DOCKER} or {NATIVE}, or nothing.")
    return way
