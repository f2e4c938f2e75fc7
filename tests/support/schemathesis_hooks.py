"""What Schemathesis cannot know of valid requests: text that a clinic stores, quotes, an order."""

from contextlib import suppress
from datetime import datetime
from string import ascii_letters, digits
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext

ENTITY_TAGS = ("If-Match", "If-None-Match")
LETTERS = f"{ascii_letters}{digits}áñßЖ山"
LINE = st.text(f"{LETTERS} '-.,;", min_size=1, max_size=200)
LABEL = st.text(f"{ascii_letters}{digits}", min_size=1, max_size=20)

schemathesis.openapi.format("single-line", LINE.filter(lambda line: any(map(str.isalnum, line))))
schemathesis.openapi.format("multi-line", st.text(f"{LETTERS} \n\t'-.,;", max_size=400))
schemathesis.openapi.format("phone", st.from_regex("[+]?[0-9]{3,15}", fullmatch=True))
schemathesis.openapi.format("email", st.builds("{}@{}.org".format, LABEL, LABEL))


@schemathesis.hook
def before_call(_: HookContext, case: Case[Any], __: dict[str, Any]) -> None:
    """Correct a request that is meant to be valid.

    Header values are generated from letters and digits only, entity tags however are in quotes; and
    no schema says that `to` is not before `from`.
    """
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    for name in ENTITY_TAGS:
        value = case.headers.get(name)
        if value is not None and str(value).isalnum():
            case.headers[name] = f'"{value}"'
    since, until = case.query.get("from"), case.query.get("to")
    if isinstance(since, str) and isinstance(until, str) and is_after(since, until):
        case.query["from"], case.query["to"] = until, since


def is_after(one: str, other: str) -> bool:
    """Compare two times with their offsets; text that is not a time is refused anyway."""
    with suppress(ValueError):
        return datetime.fromisoformat(one) > datetime.fromisoformat(other)
    return False
