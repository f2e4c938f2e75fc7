from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from clinic.fields import ServerTimestamp, SingleLine
from clinic.text import MAX_EMAIL, MAX_PHONE, email, phone, single_line, tidy

Name = Annotated[SingleLine, Meta(examples=["Ana Rojas"])]
Email = Annotated[
    str,
    Meta(
        max_length=MAX_EMAIL,
        extra_json_schema={
            "description": "RFC 5321, without quotes and IP addresses; domains are encoded by IDNA",
            "examples": ["ana@example.org"],
            "extra": {"format": "email"},
        },
    ),
]
Phone = Annotated[
    str,
    Meta(
        max_length=MAX_PHONE,
        extra_json_schema={
            "description": "3 to 15 digits, perhaps with `+`, blanks and any of `()./-`",
            "examples": ["+56 9 1234 5678"],
            "extra": {"format": "phone"},
        },
    ),
]


class OwnerIn(Struct, forbid_unknown_fields=True):
    """An owner to register."""

    name: Name
    email: Email
    phone: Phone | None = None

    def __post_init__(self) -> None:
        tidy(self, name=single_line, email=email, phone=phone)


class OwnerPatch(Struct, forbid_unknown_fields=True):
    """Changes to an owner: absent fields stay, `null` clears an optional one."""

    name: Name | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    phone: Phone | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        tidy(self, name=single_line, email=email, phone=phone)


class OwnerOut(Struct):
    """A registered owner."""

    id: Annotated[int, Meta(examples=[17])]
    name: Name
    email: Email
    phone: Phone | None
    created_at: ServerTimestamp
