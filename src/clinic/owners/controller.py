from typing import Any

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from clinic.database import Database
from clinic.fields import MAX_ID, OwnerId, patched_fields
from clinic.openapi import COMMON, LOCATION, WITH_BODY, error_responses
from clinic.owners import statements
from clinic.owners.schemas import OwnerIn, OwnerOut, OwnerPatch
from clinic.paging import DEFAULT_LIMIT, LINK, AfterId, Cursor, Limit, decode_cursor, page
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
        self, database: NamedDependency[Database], data: JSONBody[OwnerIn]
    ) -> Response[OwnerOut]:
        """Register an owner. E-mail addresses are unique, regardless of case."""
        row = await database.one(statements.REGISTER, **msgspec.structs.asdict(data))
        owner = OwnerOut(*row)
        add_created_id("owner", owner.id)
        return Response(owner, headers={"Location": f"/owners/{owner.id}"})

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
        cursor: Cursor = None,
    ) -> Response[list[OwnerOut]]:
        """List owners, newest first; `Link` leads to the next page."""
        before = decode_cursor(cursor, AfterId).id if cursor else MAX_ID
        rows = await database.all(statements.LIST, before=before, count=limit + 1)
        owners = [OwnerOut(*row) for row in rows]
        return page(request, owners, limit, lambda last: AfterId(last.id))

    @get(
        "/{owner_id:int}",
        operation_id="readOwner",
        summary="Read an owner",
        responses=error_responses(*COMMON, 404),
    )
    async def read(self, database: NamedDependency[Database], owner_id: OwnerId) -> OwnerOut:
        row = await database.first(statements.READ, owner_id=owner_id)
        return OwnerOut(*or_404(row, "owner", owner_id))

    @patch(
        "/{owner_id:int}",
        operation_id="changeOwner",
        summary="Change an owner",
        responses=error_responses(*COMMON, 404, 409, *WITH_BODY),
    )
    async def change(
        self, database: NamedDependency[Database], owner_id: OwnerId, data: JSONBody[OwnerPatch]
    ) -> OwnerOut:
        """Change the given fields of an owner; `null` clears an optional one."""
        values = patched_fields(data)
        statement = statements.CHANGE if values else statements.READ
        row = await database.first(statement, owner_id=owner_id, **values)
        return OwnerOut(*or_404(row, "owner", owner_id))

    @delete(
        "/{owner_id:int}",
        operation_id="deleteOwner",
        summary="Delete an owner",
        responses=error_responses(*COMMON, 404),
    )
    async def delete_owner(self, database: NamedDependency[Database], owner_id: OwnerId) -> None:
        """Delete an owner, their pets and the pets' appointments."""
        or_404(await database.first(statements.DELETE, owner_id=owner_id), "owner", owner_id)
