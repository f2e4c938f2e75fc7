from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from clinic.fields import Email, ServerTimestamp, SingleLine

Name = Annotated[SingleLine, Meta(examples=["Ana Rojas"])]
Phone = Annotated[SingleLine, Meta(examples=["+56 9 1234 5678"])]


class OwnerIn(Struct, forbid_unknown_fields=True):
    """An owner to register."""

    name: Name
    email: Email
    phone: Phone | None = None


class OwnerPatch(Struct, forbid_unknown_fields=True):
    """Changes to an owner: absent fields stay, `null` clears an optional one."""

    name: Name | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    phone: Phone | UnsetType | None = UNSET


class OwnerOut(Struct):
    """A registered owner."""

    id: Annotated[int, Meta(examples=[17])]
    name: Name
    email: Email
    phone: Phone | None
    created_at: ServerTimestamp
