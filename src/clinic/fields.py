"""Field and parameter types that several resources share, and what each of them expects."""

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar.params import PathParameter
from msgspec import UNSET, Meta, Struct

MAX_ID = 2**63 - 1

OwnerId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="The owner's ID.")]
PetId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="The pet's ID.")]
AppointmentId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="The appointment's ID.")]

SingleLine = Annotated[
    str, Meta(min_length=1, max_length=200, extra_json_schema={"extra": {"format": "single-line"}})
]
MultiLine = Annotated[
    str, Meta(max_length=4000, extra_json_schema={"extra": {"format": "multi-line"}})
]
Timestamp = Annotated[
    datetime,
    Meta(
        tz=True,
        description="RFC 3339, with a UTC offset",
        examples=["2030-05-17T09:30:00-04:00"],
    ),
]
"""A time that a caller sends."""
ServerTimestamp = Annotated[datetime, Meta(examples=["2026-11-23T05:32:49Z"])]
"""A time that the clinic sets."""


class InvalidFieldError(Exception):
    """A field of a body has an unusable value.

    Not a ValueError: msgspec would turn that into a ValidationError, whose message is all that
    remains of it.
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


def to_utc(time: datetime, field: str) -> datetime:
    """Convert a field's time to UTC; raise InvalidFieldError if that leaves the years 1 to 9999."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise InvalidFieldError(field, "Expected a time in the years 1 to 9999 of UTC.") from None


def patched_fields(patch: Struct) -> dict[str, Any]:
    """Return the fields that a PATCH body sets; absent ones are left out."""
    return {
        name: value
        for name in patch.__struct_fields__
        if (value := getattr(patch, name)) is not UNSET
    }
