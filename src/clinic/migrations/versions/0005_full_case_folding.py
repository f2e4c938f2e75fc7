"""Veterinarians are found by Unicode's full case folding: `DR. WEISS` finds `Dr. Weiß`.

The index is built while an older API reads and writes.
"""

import sqlalchemy as sa
from alembic import op

from clinic.migrations.concurrently import concurrently

revision = "0005"
down_revision = "0004"

INDEX = "ix_appointment_status_veterinarian"
BUILD = "ix_appointment_status_name"
FULL = "casefold(veterinarian COLLATE pg_unicode_fast)"
SIMPLE = "casefold(veterinarian)"


def upgrade() -> None:
    replace(FULL)


def downgrade() -> None:
    replace(SIMPLE)


def replace(name: str) -> None:
    """Build the index beside the old one; what an interrupted build left is dropped."""
    with concurrently():
        drop(BUILD)
        columns: list[str | sa.TextClause] = ["status", sa.text(name), "scheduled_at", "id"]
        op.create_index(BUILD, "appointment", columns, postgresql_concurrently=True)
        drop(INDEX)
        op.execute(f"ALTER INDEX {BUILD} RENAME TO {INDEX}")


def drop(name: str) -> None:
    op.drop_index(name, "appointment", if_exists=True, postgresql_concurrently=True)
