from typing import Any

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from clinic.database import Database
from clinic.fields import MAX_ID, OwnerId, PetId, patched_fields
from clinic.openapi import COMMON, LOCATION, WITH_BODY, error_responses
from clinic.paging import DEFAULT_LIMIT, LINK, AfterId, Cursor, Limit, decode_cursor, page
from clinic.pets import statements
from clinic.pets.schemas import PetIn, PetOut, PetPatch
from clinic.problems import or_404
from clinic.telemetry.context import add_created_id


class PetController(Controller):
    tags = ("Pets",)

    @post(
        "/owners/{owner_id:int}/pets",
        operation_id="registerPet",
        summary="Register a pet",
        responses=error_responses(*COMMON, 404, *WITH_BODY),
        response_headers=[LOCATION],
    )
    async def register(
        self, database: NamedDependency[Database], owner_id: OwnerId, data: JSONBody[PetIn]
    ) -> Response[PetOut]:
        values = msgspec.structs.asdict(data)
        row = await database.one(statements.REGISTER, owner_id=owner_id, **values)
        pet = PetOut(*row)
        add_created_id("pet", pet.id)
        return Response(pet, headers={"Location": f"/pets/{pet.id}"})

    @get(
        "/owners/{owner_id:int}/pets",
        operation_id="listPets",
        summary="List an owner's pets",
        responses=error_responses(*COMMON, 404),
        response_headers=[LINK],
    )
    async def list_pets(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        owner_id: OwnerId,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response[list[PetOut]]:
        """List an owner's pets, newest first; `Link` leads to the next page."""
        before = decode_cursor(cursor, AfterId).id if cursor else MAX_ID
        rows = await database.all(
            statements.LIST_BY_OWNER, owner=owner_id, before=before, count=limit + 1
        )
        or_404(rows, "owner", owner_id)
        pets = [PetOut(*row) for row in rows if row.id is not None]
        return page(request, pets, limit, lambda last: AfterId(last.id))

    @get(
        "/pets/{pet_id:int}",
        operation_id="readPet",
        summary="Read a pet",
        responses=error_responses(*COMMON, 404),
    )
    async def read(self, database: NamedDependency[Database], pet_id: PetId) -> PetOut:
        row = await database.first(statements.READ, pet_id=pet_id)
        return PetOut(*or_404(row, "pet", pet_id))

    @patch(
        "/pets/{pet_id:int}",
        operation_id="changePet",
        summary="Change a pet",
        responses=error_responses(*COMMON, 404, *WITH_BODY),
    )
    async def change(
        self, database: NamedDependency[Database], pet_id: PetId, data: JSONBody[PetPatch]
    ) -> PetOut:
        """Change the given fields of a pet; `null` clears an optional one."""
        values = patched_fields(data)
        statement = statements.CHANGE if values else statements.READ
        row = await database.first(statement, pet_id=pet_id, **values)
        return PetOut(*or_404(row, "pet", pet_id))

    @delete(
        "/pets/{pet_id:int}",
        operation_id="deletePet",
        summary="Delete a pet",
        responses=error_responses(*COMMON, 404),
    )
    async def delete_pet(self, database: NamedDependency[Database], pet_id: PetId) -> None:
        """Delete a pet and its appointments."""
        or_404(await database.first(statements.DELETE, pet_id=pet_id), "pet", pet_id)
