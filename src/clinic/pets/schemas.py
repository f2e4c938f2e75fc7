from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from clinic.fields import ServerTimestamp, SingleLine

Name = Annotated[SingleLine, Meta(examples=["Luna"])]
Species = Annotated[SingleLine, Meta(examples=["dog"])]
Breed = Annotated[SingleLine, Meta(examples=["beagle"])]


class PetIn(Struct, forbid_unknown_fields=True):
    """A pet to register."""

    name: Name
    species: Species
    breed: Breed | None = None


class PetPatch(Struct, forbid_unknown_fields=True):
    """Changes to a pet: absent fields stay, `null` clears an optional one."""

    name: Name | UnsetType = UNSET
    species: Species | UnsetType = UNSET
    breed: Breed | UnsetType | None = UNSET


class PetOut(Struct):
    """A registered pet."""

    id: Annotated[int, Meta(examples=[17])]
    owner_id: Annotated[int, Meta(examples=[17])]
    name: Name
    species: Species
    breed: Breed | None
    created_at: ServerTimestamp
