from typing import Any

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from clinic.database import Database, Statements
from clinic.etags import answer_read, condition_of, patch_row, represent, write_row
from clinic.fields import MAX_ID, OwnerId, PetId, patched_fields
from clinic.idempotency import respond_once
from clinic.openapi import COMMON, LOCATION, WITH_BODY, error_responses
from clinic.paging import DEFAULT_LIMIT, LINK, AfterId, IdCursor, Limit, page
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
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        owner_id: OwnerId,
        data: JSONBody[PetIn],
    ) -> Response[PetOut]:

        async def respond(database: Statements) -> Response[PetOut]:
            values = msgspec.structs.asdict(data)
            row = await database.one(statements.REGISTER, owner_id=owner_id, **values)
            add_created_id("pet", row.id)
            return represent(PetOut, row, Location=f"/pets/{row.id}")

        return await respond_once(request, database, respond, data)

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
        cursor: IdCursor = None,
    ) -> Response[list[PetOut]]:
        """List an owner's pets, newest first; `Link` leads to the next page."""
        before = AfterId.parse(cursor).id if cursor is not None else MAX_ID
        rows = await database.all(
            statements.LIST_BY_OWNER, owner=owner_id, before=before, count=limit + 1
        )
        if not rows:
            or_404(await database.first(statements.OWNER_EXISTS, owner=owner_id), "owner", owner_id)
        pets = [PetOut(*row) for row in rows]
        return page(request, pets, limit, lambda last: AfterId(last.id))

    @get(
        "/pets/{pet_id:int}",
        operation_id="readPet",
        summary="Read a pet",
        responses=error_responses(*COMMON, 404),
    )
    async def read(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        pet_id: PetId,
    ) -> Response[PetOut]:
        row = await database.first(statements.READ, pet_id=pet_id)
        return answer_read(request, PetOut, or_404(row, "pet", pet_id))

    @patch(
        "/pets/{pet_id:int}",
        operation_id="changePet",
        summary="Change a pet",
        responses=error_responses(*COMMON, 404, *WITH_BODY),
    )
    async def change(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        pet_id: PetId,
        data: JSONBody[PetPatch],
    ) -> Response[PetOut]:
        """Change the given fields of a pet; `null` clears an optional one."""
        row = await patch_row(
            database,
            statements.CHANGE,
            statements.READ,
            {"pet_id": pet_id},
            patched_fields(data),
            condition_of(request),
        )
        return represent(PetOut, or_404(row, "pet", pet_id))

    @delete(
        "/pets/{pet_id:int}",
        operation_id="deletePet",
        summary="Delete a pet",
        responses=error_responses(*COMMON, 404),
    )
    async def delete_pet(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        pet_id: PetId,
    ) -> None:
        """Delete a pet and its appointments."""
        row = await write_row(
            database,
            statements.DELETE,
            statements.READ,
            {"pet_id": pet_id},
            condition_of(request),
        )
        or_404(row, "pet", pet_id)
