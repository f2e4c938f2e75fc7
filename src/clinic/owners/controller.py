from typing import Any

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from clinic.database import Database, Statements
from clinic.etags import answer_read, condition_of, patch_row, represent, write_row
from clinic.fields import MAX_ID, OwnerId, patched_fields
from clinic.idempotency import respond_once
from clinic.openapi import COMMON, LOCATION, WITH_BODY, error_responses
from clinic.owners import statements
from clinic.owners.schemas import OwnerIn, OwnerOut, OwnerPatch
from clinic.paging import DEFAULT_LIMIT, LINK, AfterId, IdCursor, Limit, page
from clinic.problems import or_404
from clinic.telemetry.context import add_created_id


class OwnerController(Controller):
    path = "/owners"
    tags = ("Owners",)

    @post(
        operation_id="registerOwner",
        summary="Register an owner",
        responses=error_responses(*COMMON, 409, *WITH_BODY),
        response_headers=[LOCATION],
    )
    async def register(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        data: JSONBody[OwnerIn],
    ) -> Response[OwnerOut]:
        """Register an owner. E-mail addresses are unique, regardless of case."""

        async def respond(database: Statements) -> Response[OwnerOut]:
            values = msgspec.structs.asdict(data)
            row = await database.one(statements.REGISTER, **values)
            add_created_id("owner", row.id)
            return represent(OwnerOut, row, Location=f"/owners/{row.id}")

        return await respond_once(request, database, respond, data)

    @get(
        operation_id="listOwners",
        summary="List owners",
        responses=error_responses(*COMMON),
        response_headers=[LINK],
    )
    async def list_owners(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        limit: Limit = DEFAULT_LIMIT,
        cursor: IdCursor = None,
    ) -> Response[list[OwnerOut]]:
        """List owners, newest first; `Link` leads to the next page."""
        before = AfterId.parse(cursor).id if cursor is not None else MAX_ID
        rows = await database.all(statements.LIST, before=before, count=limit + 1)
        owners = [OwnerOut(*row) for row in rows]
        return page(request, owners, limit, lambda last: AfterId(last.id))

    @get(
        "/{owner_id:int}",
        operation_id="readOwner",
        summary="Read an owner",
        responses=error_responses(*COMMON, 404),
    )
    async def read(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        owner_id: OwnerId,
    ) -> Response[OwnerOut]:
        row = await database.first(statements.READ, owner_id=owner_id)
        return answer_read(request, OwnerOut, or_404(row, "owner", owner_id))

    @patch(
        "/{owner_id:int}",
        operation_id="changeOwner",
        summary="Change an owner",
        responses=error_responses(*COMMON, 404, 409, *WITH_BODY),
    )
    async def change(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        owner_id: OwnerId,
        data: JSONBody[OwnerPatch],
    ) -> Response[OwnerOut]:
        """Change the given fields of an owner; `null` clears an optional one."""
        row = await patch_row(
            database,
            statements.CHANGE,
            statements.READ,
            {"owner_id": owner_id},
            patched_fields(data),
            condition_of(request),
        )
        return represent(OwnerOut, or_404(row, "owner", owner_id))

    @delete(
        "/{owner_id:int}",
        operation_id="deleteOwner",
        summary="Delete an owner",
        responses=error_responses(*COMMON, 404),
    )
    async def delete_owner(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        owner_id: OwnerId,
    ) -> None:
        """Delete an owner, their pets and the pets' appointments."""
        row = await write_row(
            database,
            statements.DELETE,
            statements.READ,
            {"owner_id": owner_id},
            condition_of(request),
        )
        or_404(row, "owner", owner_id)
