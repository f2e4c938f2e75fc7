"""Takes Litestar's caches out of the way whose keys callers choose.

They keep up to 1024 paths, query strings and cookies each, of any length, with whatever is in them.
"""

from functools import _lru_cache_wrapper
from importlib import import_module
from typing import Any

from litestar import Litestar
from litestar.datastructures import URL

MODULES = (
    "litestar._asgi.routing_trie.traversal",
    "litestar._kwargs.extractors",
    "litestar._parsers",
    "litestar.connection.base",
    "litestar.datastructures.url",
)


def bypass_caches(app: Litestar) -> None:
    """Replace each cached function by the function itself."""
    app.asgi_router.handle_routing = app.asgi_router.handle_routing.__wrapped__  # type: ignore[assignment]
    for module in map(import_module, MODULES):
        for name, value in vars(module).items():
            if isinstance(value, _lru_cache_wrapper):
                setattr(module, name, value.__wrapped__)
    for name, value in list(vars(URL).items()):
        cached: Any = getattr(value, "__func__", None)
        if isinstance(cached, _lru_cache_wrapper):
            setattr(URL, name, classmethod(cached.__wrapped__))
