from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from clinic.fields import (
    InvalidFieldError,
    MultiLine,
    ServerTimestamp,
    SingleLine,
    Timestamp,
    to_utc,
)
from clinic.models import BOOKED, CANCELLED
from clinic.text import multi_line, single_line, tidy

LAST_YEAR = 9999
Veterinarian = Annotated[SingleLine, Meta(examples=["Dr. Soto"])]
Reason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        extra_json_schema={
            "examples": ["yearly check-up"],
            "extra": {"format": "single-line"},
        },
    ),
]
Notes = Annotated[MultiLine, Meta(examples=["Bring the vaccination card."])]


class Status(StrEnum):
    """State of an appointment."""

    BOOKED = BOOKED
    CANCELLED = CANCELLED


class AppointmentIn(Struct, forbid_unknown_fields=True):
    """An appointment to book."""

    scheduled_at: Timestamp
    reason: Reason
    veterinarian: Veterinarian | None = None
    notes: Notes | None = None

    def __post_init__(self) -> None:
        self.scheduled_at = bookable_time(self.scheduled_at)
        tidy(self, reason=single_line, veterinarian=single_line, notes=multi_line)


class AppointmentPatch(Struct, forbid_unknown_fields=True):
    """Changes to an appointment: absent fields stay, `null` clears an optional one."""

    scheduled_at: Timestamp | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET
    veterinarian: Veterinarian | UnsetType | None = UNSET
    notes: Notes | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.scheduled_at is not UNSET:
            self.scheduled_at = bookable_time(self.scheduled_at)
        tidy(self, reason=single_line, veterinarian=single_line, notes=multi_line)


def bookable_time(time: datetime) -> datetime:
    """Return a time in UTC; the last year is left to the agenda's bounds."""
    time = to_utc(time, "scheduled_at")
    if time.year >= LAST_YEAR:
        raise InvalidFieldError("scheduled_at", f"Expected a time before the year {LAST_YEAR}.")
    return time


class AppointmentOut(Struct):
    """An appointment of a pet."""

    id: Annotated[int, Meta(examples=[17])]
    pet_id: Annotated[int, Meta(examples=[17])]
    scheduled_at: Timestamp
    reason: Reason
    veterinarian: Veterinarian | None
    notes: Notes | None
    status: Status
    cancelled_at: ServerTimestamp | None
    created_at: ServerTimestamp
