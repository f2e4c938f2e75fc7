"""The calls on owners."""

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from clinic.database import Database
from clinic.fields import MAX_ID, changes
from clinic.owners import statements
from clinic.owners.schemas import OwnerIn, OwnerOut, OwnerPatch
from clinic.paging import LINK, After, Cursor, Limit, key_of, page
from clinic.problems import BODY, EVERY, LOCATION, answers, found

OwnerId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="The owner's id.")]


class OwnerController(Controller):
    path = "/owners"
    tags = ("Owners",)

    @post(
        operation_id="registerOwner",
        summary="Register an owner",
        responses=answers(*EVERY, 409, *BODY),
        response_headers=[LOCATION],
    )
    async def register(
        self, database: NamedDependency[Database], data: JSONBody[OwnerIn]
    ) -> Response[OwnerOut]:
        """Register an owner. No two owners share an e-mail address, whatever its letter case."""
        row = await database.one(statements.REGISTER, **msgspec.structs.asdict(data))
        owner = OwnerOut(*found(row, "owner"))
        return Response(owner, headers={"Location": f"/owners/{owner.id}"})

    @get(
        operation_id="listOwners",
        summary="List owners",
        responses=answers(*EVERY),
        response_headers=[LINK],
    )
    async def newest(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response[list[OwnerOut]]:
        """List owners, newest first; `Link` leads to the next page while there is more."""
        before = key_of(cursor, After).id if cursor else MAX_ID
        rows = await database.all(statements.NEWEST, before=before, count=limit + 1)
        owners = [OwnerOut(*row) for row in rows]
        return page(request, owners, limit, lambda last: After(last.id))

    @get(
        "/{owner_id:int}",
        operation_id="readOwner",
        summary="Read an owner",
        responses=answers(*EVERY, 404),
    )
    async def read(self, database: NamedDependency[Database], owner_id: OwnerId) -> OwnerOut:
        """Read one owner."""
        row = await database.one(statements.READ, owner_id=owner_id)
        return OwnerOut(*found(row, "owner", owner_id))

    @patch(
        "/{owner_id:int}",
        operation_id="changeOwner",
        summary="Change an owner",
        responses=answers(*EVERY, 404, 409, *BODY),
    )
    async def change(
        self, database: NamedDependency[Database], owner_id: OwnerId, data: JSONBody[OwnerPatch]
    ) -> OwnerOut:
        """Change the given fields of an owner: absent ones stay, `null` clears an optional one."""
        values = changes(data)
        statement = statements.CHANGE if values else statements.READ
        row = await database.one(statement, owner_id=owner_id, **values)
        return OwnerOut(*found(row, "owner", owner_id))

    @delete(
        "/{owner_id:int}",
        operation_id="deleteOwner",
        summary="Delete an owner",
        responses=answers(*EVERY, 404),
    )
    async def remove(self, database: NamedDependency[Database], owner_id: OwnerId) -> None:
        """Delete an owner with all pets and their appointments."""
        found(await database.one(statements.DELETE, owner_id=owner_id), "owner", owner_id)
