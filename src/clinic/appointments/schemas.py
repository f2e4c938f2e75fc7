"""What an appointment looks like on the wire."""

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from clinic.fields import Line, Moment, Reason, Stamp, Text, in_utc
from clinic.models import BOOKED, CANCELLED

Veterinarian = Annotated[Line, Meta(examples=["Dr. Soto"])]
Why = Annotated[Reason, Meta(examples=["yearly check-up"])]
Notes = Annotated[Text, Meta(examples=["Bring the vaccination card."])]


class Status(StrEnum):
    """Whether an appointment stands."""

    BOOKED = BOOKED
    CANCELLED = CANCELLED


class AppointmentIn(Struct, forbid_unknown_fields=True):
    """An appointment to book."""

    scheduled_at: Moment
    reason: Why
    veterinarian: Veterinarian | None = None
    notes: Notes | None = None

    def __post_init__(self) -> None:
        self.scheduled_at = in_utc(self.scheduled_at, "scheduled_at")


class AppointmentPatch(Struct, forbid_unknown_fields=True):
    """What to change of an appointment: an absent field stays, `null` clears an optional one."""

    scheduled_at: Moment | UnsetType = UNSET
    reason: Why | UnsetType = UNSET
    veterinarian: Veterinarian | UnsetType | None = UNSET
    notes: Notes | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.scheduled_at is not UNSET:
            self.scheduled_at = in_utc(self.scheduled_at, "scheduled_at")


class AppointmentOut(Struct):
    """An appointment of a pet."""

    id: Annotated[int, Meta(examples=[17])]
    pet_id: Annotated[int, Meta(examples=[17])]
    scheduled_at: Moment
    reason: Why
    veterinarian: Veterinarian | None
    notes: Notes | None
    status: Status
    cancelled_at: Stamp | None
    created_at: Stamp
