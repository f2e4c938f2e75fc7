"""Owners, pets and appointments."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "owner",
        *key_and_time("owner"),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("phone", sa.String()),
    )
    op.create_index("uq_owner_email", "owner", [sa.text("lower(email)")], unique=True)

    op.create_table(
        "pet",
        *key_and_time("pet"),
        foreign_key("pet", "owner"),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("species", sa.String(), nullable=False),
        sa.Column("breed", sa.String()),
    )
    op.create_index("ix_pet_owner_id", "pet", ["owner_id", "id"])

    op.create_table(
        "appointment",
        *key_and_time("appointment"),
        foreign_key("appointment", "pet"),
        sa.Column("scheduled_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("veterinarian", sa.String()),
        sa.Column("notes", sa.String()),
        sa.Column("status", sa.String(), server_default="booked", nullable=False),
        sa.Column("cancelled_at", sa.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("status IN ('booked', 'cancelled')", name="status"),
        sa.CheckConstraint("(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled"),
    )
    op.create_index(
        "uq_appointment_pet_id_scheduled_at",
        "appointment",
        ["pet_id", "scheduled_at"],
        unique=True,
        postgresql_where=sa.text("status <> 'cancelled'"),
    )
    by_time = ["scheduled_at", "id"]
    op.create_index("ix_appointment_pet_id", "appointment", ["pet_id", *by_time])
    op.create_index("ix_appointment_scheduled_at", "appointment", by_time)
    op.create_index("ix_appointment_veterinarian", "appointment", ["veterinarian", *by_time])


def downgrade() -> None:
    op.drop_table("appointment")
    op.drop_table("pet")
    op.drop_table("owner")


def key_and_time(table: str) -> tuple[sa.Column[int], sa.PrimaryKeyConstraint, sa.Column[object]]:
    """Make the columns that all tables have."""
    return (
        sa.Column("id", sa.BigInteger(), sa.Identity(start=1, increment=1), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.func.now(), nullable=False
        ),
    )


def foreign_key(table: str, parent: str) -> sa.Column[int]:
    """Make a foreign key to the parent table; deleting the parent deletes its rows."""
    return sa.Column(
        f"{parent}_id",
        sa.BigInteger(),
        sa.ForeignKey(f"{parent}.id", name=f"fk_{table}_{parent}_id_{parent}", ondelete="CASCADE"),
        nullable=False,
    )
