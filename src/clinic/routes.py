"""Routes of the API: the one spelling of each path, and the methods that it allows."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from litestar import Litestar
from litestar.types import HTTPScope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Known methods, in the order of `Allow`."""

ID = r"([1-9][0-9]{0,18})"
"""An ID in a path: ASCII digits, without sign and leading zeros."""

PARAMETER = re.compile(r"\{(\w+)\}")


class Route(NamedTuple):
    template: str
    """Such as `/owners/{owner_id}/pets`."""
    methods: tuple[str, ...]
    parameters: tuple[str, ...]
    """Names of the IDs in the path."""

    @property
    def allow(self) -> str:
        """The value of the header `Allow`."""
        return ", ".join(self.methods)


class Match(NamedTuple):
    route: Route
    ids: Mapping[str, int]


class Routes:
    """The routes of an app whose path parameters are IDs; other paths lead nowhere.

    Litestar would find a route for other spellings as well: doubled and trailing slashes, encoded
    characters, signs, leading zeros, digits of other scripts.
    """

    def __init__(self, app: Litestar) -> None:
        methods: dict[str, set[str]] = {}
        for route in app.routes:
            parameters = route.path_parameters.values()
            if all(parameter.type is int for parameter in parameters):
                methods.setdefault(route.path_format, set()).update(route.methods)
        self.routes: dict[int, Route] = {}
        patterns = []
        group = 1
        for template, allowed in methods.items():
            if "GET" in allowed:
                allowed.add("HEAD")
            names = tuple(PARAMETER.findall(template))
            ordered = tuple(method for method in METHODS if method in allowed)
            self.routes[group] = Route(template, ordered, names)
            literals = (re.escape(part) for part in PARAMETER.split(template)[::2])
            patterns.append(f"({ID.join(literals)})")
            group += 1 + len(names)
        self.pattern = re.compile("|".join(patterns).encode())

    def match(self, scope: HTTPScope) -> Match | None:
        """Return the route of a request's path and the IDs in it; the second call is cheap."""
        state = scope["state"]
        if "match" not in state:
            state["match"] = self.find(scope)
        match: Match | None = state["match"]
        return match

    def find(self, scope: HTTPScope) -> Match | None:
        path = scope.get("raw_path") or scope["path"].encode()
        match = self.pattern.fullmatch(path)
        if match is None or match.lastindex is None:
            return None
        group = match.lastindex
        route = self.routes[group]
        ids = {name: int(match[group + i]) for i, name in enumerate(route.parameters, 1)}
        return Match(route, ids)
