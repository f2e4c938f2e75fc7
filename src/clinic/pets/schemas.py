from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from clinic.fields import ServerTimestamp, SingleLine
from clinic.text import single_line, tidy

Name = Annotated[SingleLine, Meta(examples=["Luna"])]
Species = Annotated[SingleLine, Meta(examples=["dog"])]
Breed = Annotated[SingleLine, Meta(examples=["beagle"])]


class PetIn(Struct, forbid_unknown_fields=True):
    """A pet to register."""

    name: Name
    species: Species
    breed: Breed | None = None

    def __post_init__(self) -> None:
        tidy(self, name=single_line, species=single_line, breed=single_line)


class PetPatch(Struct, forbid_unknown_fields=True):
    """Changes to a pet: absent fields stay, `null` clears an optional one."""

    name: Name | UnsetType = UNSET
    species: Species | UnsetType = UNSET
    breed: Breed | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        tidy(self, name=single_line, species=single_line, breed=single_line)


class PetOut(Struct):
    """A registered pet."""

    id: Annotated[int, Meta(examples=[17])]
    owner_id: Annotated[int, Meta(examples=[17])]
    name: Name
    species: Species
    breed: Breed | None
    created_at: ServerTimestamp
