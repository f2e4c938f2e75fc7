"""What a pet looks like on the wire."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from clinic.fields import Line, Stamp

Name = Annotated[Line, Meta(examples=["Luna"])]
Species = Annotated[Line, Meta(examples=["dog"])]
Breed = Annotated[Line, Meta(examples=["beagle"])]


class PetIn(Struct, forbid_unknown_fields=True):
    """A pet to register."""

    name: Name
    species: Species
    breed: Breed | None = None


class PetPatch(Struct, forbid_unknown_fields=True):
    """What to change of a pet: an absent field stays, `null` clears an optional one."""

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
    created_at: Stamp
