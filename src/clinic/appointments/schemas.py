from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from clinic.fields import (
    SINGLE_LINE_PATTERN,
    MultiLine,
    ServerTimestamp,
    SingleLine,
    Timestamp,
    to_utc,
)
from clinic.models import BOOKED, CANCELLED

Veterinarian = Annotated[SingleLine, Meta(examples=["Dr. Soto"])]
Reason = Annotated[
    str,
    Meta(min_length=1, max_length=500, pattern=SINGLE_LINE_PATTERN, examples=["yearly check-up"]),
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
        self.scheduled_at = to_utc(self.scheduled_at, "scheduled_at")


class AppointmentPatch(Struct, forbid_unknown_fields=True):
    """Changes to an appointment: absent fields stay, `null` clears an optional one."""

    scheduled_at: Timestamp | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET
    veterinarian: Veterinarian | UnsetType | None = UNSET
    notes: Notes | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.scheduled_at is not UNSET:
            self.scheduled_at = to_utc(self.scheduled_at, "scheduled_at")


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
