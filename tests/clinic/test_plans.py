"""How PostgreSQL runs the API's statements on large tables, by `auto_explain`.

Each statement is planned three times: for its values, for any, and while the tables were small.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from urllib.parse import urlencode

import pytest
from httpx import AsyncClient
from sqlalchemy import event, text

from clinic.database import Database
from clinic.idempotency import EXPIRE
from clinic.models import Base
from clinic.paging import DEFAULT_LIMIT
from clinic.settings import Settings
from tests.support.clinic import app_client, migrated_database, running_app
from tests.support.rows import FEW, MAY_FILL, fill

ROWS = 100_000
CACHED = 6
"""Executions after which PostgreSQL may keep a plan for all values."""
EXPLAINED = "auto_explain.log_min_duration"
EXPLAIN = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_nested_statements": "on",  # foreign keys
    "client_min_messages": "log",
    "jit": "off",
}
AGENDA = [
    "/appointments?" + urlencode([pair for pair in (*period, *filters) if pair[1]])
    for period, *filters in product(
        [
            (),
            (("from", "2090-05-17T00:00:00Z"), ("to", "2090-05-18T00:00:00Z")),
            (("from", "2099-01-01T00:00:00Z"),),
        ],
        [("veterinarian", name) for name in ("", "dr. 3", "DR. 8", "Dr. 9", "nobody")],
        [("status", status) for status in ("", "booked", "cancelled")],
        [("cursor", cursor) for cursor in ("", "3797971200000000_1")],
    )
] + ["/appointments?limit=500", "/appointments?limit=500&veterinarian=Dr. 3&status=cancelled"]
LISTS = [
    f"{path}?{query}"
    for path in ("/owners", "/owners/1/pets", f"/owners/{ROWS}/pets", "/owners/70/pets")
    for query in ("", "limit=500", "limit=1", "cursor=30000", "cursor=2")
] + [
    f"{path}?{query}"
    for path in ("/pets/1/appointments", f"/pets/{ROWS}/appointments", "/pets/70/appointments")
    for query in ("", "limit=500", "limit=1", "cursor=3797971200000000_1")
]
READS = [*AGENDA, *LISTS, "/owners/2", "/pets/2", "/appointments/2"]
PAGE = re.compile(r"limit=(\d+)")
OTHER_BUFFERS = 50
"""Most pages read beside one for each row: those of indexes, and of a write."""
ONLY_FOR_SPEED = {
    index.name for table in Base.metadata.tables.values() for index in table.indexes
} - {"uq_owner_email", "uq_appointment_pet_id_minute"}

READS_SCHEMA = "alembic_versions"
"""In the statement that reads the state of the database once a second."""

Plan = dict[str, Any]
Plans = dict[str, dict[str, list[Plan]]]
"""By the way of planning, and by request."""


@dataclass
class Explained:
    """The API with one connection, and how PostgreSQL ran its statements."""

    client: AsyncClient
    database: Database
    plans: list[Plan] = field(default_factory=list)

    def record(self, _connection: object, message: Any) -> None:
        """Keep the plan of a statement."""
        _, explains, plan = message.message.partition("plan:\n")
        if explains and READS_SCHEMA not in plan:
            self.plans.append(json.loads(plan)["Plan"])

    async def plans_of(self, method: str, path: str, **content: Any) -> tuple[Any, list[Plan]]:
        self.plans = []
        response = await self.client.request(method, path, **content)
        assert response.status_code in {200, 201, 204, 404}, (path, response.text)
        await asyncio.sleep(0)  # asyncpg delivers messages in the next turn of the event loop
        return response, self.plans

    async def all_plans(self, name: str) -> dict[str, list[Plan]]:
        """Send every request; return its plans."""
        plans = {f"GET {path}": (await self.plans_of("GET", path))[1] for path in READS}

        async def write(method: str, path: str, **content: Any) -> str:
            response, plans[f"{method} {path}"] = await self.plans_of(method, path, **content)
            return str(response.headers.get("Location", path))

        ana = {"name": "Ana", "email": f"{name}@example.org"}
        luna = {"name": "Luna", "species": "dog"}
        visit = {"scheduled_at": "2080-01-01T09:00:00Z", "reason": "x", "veterinarian": "Dr. 3"}
        owner = await write("POST", "/owners", json=ana, headers={"Idempotency-Key": name})
        pet = await write("POST", f"{owner}/pets", json=luna)
        appointment = await write("POST", f"{pet}/appointments", json=visit)
        await write("PATCH", owner, json={"email": f"{name}@example.com"})
        await write("PATCH", appointment, json={"scheduled_at": "2080-01-02T09:00:00Z"})
        await write("POST", f"{appointment}/cancel")
        await write("POST", f"{pet}/appointments", json=visit)
        await write("DELETE", owner)
        self.plans = []
        await self.database.all(EXPIRE)
        await asyncio.sleep(0)
        plans["expiry of keys"] = self.plans
        return plans


@pytest.fixture(scope="module")
def explaining() -> Iterator[Settings]:
    changes = (f"ALTER DATABASE clinic SET {name} = '{value}'" for name, value in EXPLAIN.items())
    may_explain = f"GRANT SET ON PARAMETER {EXPLAINED} TO clinic"
    with migrated_database(*changes, may_explain, MAY_FILL) as settings:
        yield settings


@pytest.fixture(scope="module")
async def explained(explaining: Settings) -> Plans:
    """Run every request on large tables, planned in each way."""
    async with (
        running_app(explaining, pool_size=1) as app,
        app_client(app) as client,
    ):
        database: Database = app.state.database
        explained = Explained(client, database)

        @event.listens_for(database.engine.sync_engine, "connect")
        def listen(connection: Any, _record: object) -> None:
            connection.driver_connection.add_log_listener(explained.record)

        await database.engine.dispose()  # for a connection with the listener

        async def run(statement: str) -> None:
            async with database.engine.connect() as connection:
                await connection.execute(text(statement))

        for table in Base.metadata.tables:
            await run(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        await fill(explaining, 1, FEW, ROWS)
        await run("ANALYZE")
        await run(f"SET {EXPLAINED} = 0")
        for execution in range(CACHED):
            await explained.all_plans(f"small{execution}")
        await fill(explaining, FEW + 1, ROWS, ROWS)
        plans = {"small": await explained.all_plans("small")}
        await run("ANALYZE")
        for mode in ("generic", "custom"):
            await run(f"SET plan_cache_mode = force_{mode}_plan")
            plans[mode] = await explained.all_plans(mode)
    return plans


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.anyio
@pytest.mark.parametrize("planned", ["small", "generic", "custom"])
async def test_an_index_finds_and_sorts_the_rows_of_each_statement(
    explained: Plans, planned: str
) -> None:
    wrong = {
        request: node
        for request, plans in explained[planned].items()
        for plan in plans
        for node in nodes(plan)
        if re.search("Seq Scan|Bitmap|Sort", node["Node Type"])
        or node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    }
    assert len(explained[planned]) > len(READS)
    assert wrong == {}


@pytest.mark.anyio
@pytest.mark.parametrize("planned", ["small", "generic", "custom"])
async def test_a_statement_reads_no_more_than_its_rows(explained: Plans, planned: str) -> None:
    def rows(request: str) -> int:
        limit = PAGE.search(request)
        return int(limit[1]) if limit else DEFAULT_LIMIT

    buffers = {
        request: [plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans]
        for request, plans in explained[planned].items()
    }
    assert all(sum(read) > 0 for read in buffers.values())
    assert {
        request: read
        for request, read in buffers.items()
        if max(read) > rows(request) + OTHER_BUFFERS
    } == {}


@pytest.mark.anyio
async def test_each_index_serves_a_statement(explained: Plans) -> None:
    used = {
        node["Index Name"]
        for requests in explained.values()
        for plans in requests.values()
        for plan in plans
        for node in nodes(plan)
        if "Index Name" in node
    }
    assert used >= ONLY_FOR_SPEED
