"""Fill the tables with many rows."""

from dataclasses import replace

from sqlalchemy import text

from clinic.database import database_config
from clinic.settings import Settings

FILL_SECONDS = 600
FEW = 60
"""Rows of a page, after which PostgreSQL analyzes a table."""
MAY_FILL = "GRANT SET ON PARAMETER session_replication_role TO clinic"
"""What the superuser has to run first."""
STATEMENTS = """
SET session_replication_role = replica;
INSERT INTO owner (name, email) SELECT 'Ana', 'ana' || n || '@example.org' FROM {n};
INSERT INTO pet (owner_id, name, species) SELECT {parent}, 'Luna', 'dog' FROM {n};
INSERT INTO appointment (pet_id, scheduled_at, reason, veterinarian, status, cancelled_at)
SELECT {parent},
    timestamptz '2090-01-01 00:00Z' + CAST(n AS bigint) * 7919 % {rows} * interval '5 min',
    'check-up', 'Dr. ' || n % 10, CASE WHEN cancelled THEN 'cancelled' ELSE 'booked' END,
    CASE WHEN cancelled THEN now() END
FROM {n}, LATERAL (SELECT n % 10 = 9 OR n % 10 <> 8 AND n % 7 = 0) AS state (cancelled);
INSERT INTO idempotency_key (path, key, fingerprint, status, body, etag, created_at)
SELECT '/owners', n::text, '', 201, '', '', now() - n % 20 * interval '1 h' FROM {n}
"""


async def fill(settings: Settings, first: int, last: int, rows: int) -> None:
    """Insert these of so many rows into each table, on a connection of their own.

    Apart from the first few, a third of the pets has owner 1, and of the appointments pet 1. Each
    hour has twelve appointments. Dr. 8 has no cancelled one, Dr. 9 no other. Foreign keys are not
    checked row by row; that setting would discard the plans of the same connection.
    """
    parent = f"CASE WHEN n BETWEEN {FEW + 1} AND {rows // 3} THEN 1 ELSE n END"
    n = f"generate_series({first}, {last}) AS n"
    await execute(settings, *STATEMENTS.format(n=n, parent=parent, rows=rows).split(";"))


async def execute(settings: Settings, *statements: str) -> None:
    engine = database_config(replace(settings, statement_timeout=FILL_SECONDS)).get_engine()
    async with engine.connect() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()
