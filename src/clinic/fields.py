"""Types of the wire that more than one resource uses, and the words for what they expect."""

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct

MAX_ID = 2**63 - 1

# Python's `$` also matches before a last line feed, and ECMA's regular expressions know no `\Z`.
END = r"(?![\s\S])"
# No control character, no lone surrogate: PostgreSQL and UTF-8 have no place for them.
LINE = (
    r"^[^\x00-\x1f\x7f\ud800-\udfff]*[^\s\x00-\x1f\x7f\ud800-\udfff]"
    r"[^\x00-\x1f\x7f\ud800-\udfff]*" + END
)
TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]*" + END
# What browsers take for an e-mail address (WHATWG HTML, 4.10.5.1.5), with a dot in its domain.
EMAIL = (
    r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)+" + END
)

EXPECTED = {
    LINE: "text in one line, not blank, without control characters",
    TEXT: "text without control characters",
    "Invalid enum value": "`booked` or `cancelled`",
    EMAIL: "an e-mail address, such as ana@example.org",
}
"""What to say of a pattern or an enumeration that did not match."""

Line = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE)]
Reason = Annotated[str, Meta(min_length=1, max_length=500, pattern=LINE)]
Text = Annotated[str, Meta(max_length=4000, pattern=TEXT)]
Email = Annotated[str, Meta(max_length=254, pattern=EMAIL, examples=["ana@example.org"])]
Moment = Annotated[
    datetime,
    Meta(tz=True, description="RFC 3339, with an offset", examples=["2030-05-17T09:30:00-04:00"]),
]
Stamp = Annotated[datetime, Meta(examples=["2026-11-23T05:32:49Z"])]


def in_utc(moment: datetime, name: str) -> datetime:
    """Return the named moment in UTC; one outside of UTC's years 1 to 9999 raises ValueError."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"Expected a time in UTC's years 1 to 9999 - at `$.{name}`") from None


def changes(patch: Struct) -> dict[str, Any]:
    """Return the fields that a patch names."""
    return {
        name: value
        for name in patch.__struct_fields__
        if (value := getattr(patch, name)) is not UNSET
    }
