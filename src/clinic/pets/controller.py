"""The calls on pets."""

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from clinic.database import Database
from clinic.fields import MAX_ID, changes
from clinic.owners.controller import OwnerId
from clinic.paging import LINK, After, Cursor, Limit, key_of, page
from clinic.pets import statements
from clinic.pets.schemas import PetIn, PetOut, PetPatch
from clinic.problems import BODY, EVERY, LOCATION, answers, found

PetId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="The pet's id.")]


class PetController(Controller):
    tags = ("Pets",)

    @post(
        "/owners/{owner_id:int}/pets",
        operation_id="registerPet",
        summary="Register a pet",
        responses=answers(*EVERY, 404, *BODY),
        response_headers=[LOCATION],
    )
    async def register(
        self, database: NamedDependency[Database], owner_id: OwnerId, data: JSONBody[PetIn]
    ) -> Response[PetOut]:
        """Register a pet of an owner."""
        values = msgspec.structs.asdict(data)
        row = await database.one(statements.REGISTER, owner_id=owner_id, **values)
        pet = PetOut(*found(row, "pet"))
        return Response(pet, headers={"Location": f"/pets/{pet.id}"})

    @get(
        "/owners/{owner_id:int}/pets",
        operation_id="listPets",
        summary="List an owner's pets",
        responses=answers(*EVERY, 404),
        response_headers=[LINK],
    )
    async def of_owner(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        owner_id: OwnerId,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response[list[PetOut]]:
        """List an owner's pets, newest first; `Link` leads to the next page while there is more."""
        before = key_of(cursor, After).id if cursor else MAX_ID
        rows = await database.all(
            statements.OF_OWNER, owner=owner_id, before=before, count=limit + 1
        )
        found(rows, "owner", owner_id)
        pets = [PetOut(*row) for row in rows if row.id is not None]
        return page(request, pets, limit, lambda last: After(last.id))

    @get(
        "/pets/{pet_id:int}",
        operation_id="readPet",
        summary="Read a pet",
        responses=answers(*EVERY, 404),
    )
    async def read(self, database: NamedDependency[Database], pet_id: PetId) -> PetOut:
        """Read one pet."""
        return PetOut(*found(await database.one(statements.READ, pet_id=pet_id), "pet", pet_id))

    @patch(
        "/pets/{pet_id:int}",
        operation_id="changePet",
        summary="Change a pet",
        responses=answers(*EVERY, 404, *BODY),
    )
    async def change(
        self, database: NamedDependency[Database], pet_id: PetId, data: JSONBody[PetPatch]
    ) -> PetOut:
        """Change the given fields of a pet: absent ones stay, `null` clears an optional one."""
        values = changes(data)
        statement = statements.CHANGE if values else statements.READ
        row = await database.one(statement, pet_id=pet_id, **values)
        return PetOut(*found(row, "pet", pet_id))

    @delete(
        "/pets/{pet_id:int}",
        operation_id="deletePet",
        summary="Delete a pet",
        responses=answers(*EVERY, 404),
    )
    async def remove(self, database: NamedDependency[Database], pet_id: PetId) -> None:
        """Delete a pet with all its appointments."""
        found(await database.one(statements.DELETE, pet_id=pet_id), "pet", pet_id)
