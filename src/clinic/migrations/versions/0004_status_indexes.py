"""Indexes that serve every combination of the agenda's filters.

They are built while an older API reads and writes. It reads the agenda from the table, more slowly,
from the moment in which its indexes are gone until the new API replaces it.
"""

import sqlalchemy as sa
from alembic import op

from clinic.migrations.concurrently import concurrently

revision = "0004"
down_revision = "0003"

Indexes = dict[str, list[str | sa.TextClause]]

NAME = sa.text("casefold(veterinarian)")
BY_TIME: list[str | sa.TextClause] = ["scheduled_at", "id"]
OLD: Indexes = {
    "ix_appointment_scheduled_at": BY_TIME,
    "ix_appointment_veterinarian": [NAME, *BY_TIME],
}
NEW: Indexes = {
    "ix_appointment_status": ["status", *BY_TIME],
    "ix_appointment_status_veterinarian": ["status", NAME, *BY_TIME],
}


def upgrade() -> None:
    replace(OLD, NEW)


def downgrade() -> None:
    replace(NEW, OLD)


def replace(old: Indexes, new: Indexes) -> None:
    """Build the new indexes, then drop the old ones; what an interrupted build left is dropped."""
    with concurrently():
        for name, columns in new.items():
            drop(name)
            op.create_index(name, "appointment", columns, postgresql_concurrently=True)
        for name in old:
            drop(name)


def drop(name: str) -> None:
    op.drop_index(name, "appointment", if_exists=True, postgresql_concurrently=True)
