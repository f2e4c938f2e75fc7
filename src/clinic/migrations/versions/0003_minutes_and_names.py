"""One appointment of a pet a minute; veterinarians are found in any case and spacing.

Rows stay: a booking that shares its minute with an earlier one of the pet is marked, and keeps it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MINUTE = "date_bin('00:01:00'::interval, scheduled_at, to_timestamp(0::double precision))"
BY_TIME = ["scheduled_at", "id"]


def upgrade() -> None:
    op.add_column(
        "appointment",
        sa.Column("shares_minute", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.execute(
        f"""
        UPDATE appointment SET shares_minute = true FROM (
            SELECT id, row_number() OVER (PARTITION BY pet_id, {MINUTE} ORDER BY id) AS place
            FROM appointment WHERE status <> 'cancelled'
        ) AS placed
        WHERE placed.id = appointment.id AND placed.place > 1
        """  # noqa: S608 constants
    )
    op.drop_index("uq_appointment_pet_id_scheduled_at", "appointment")
    op.create_index(
        "uq_appointment_pet_id_minute",
        "appointment",
        ["pet_id", sa.text(MINUTE)],
        unique=True,
        postgresql_where=sa.text("status <> 'cancelled' AND NOT shares_minute"),
    )
    name = r"normalize(btrim(regexp_replace(veterinarian, '\s+', ' ', 'g')), NFC)"
    op.execute(
        f"UPDATE appointment SET veterinarian = {name} WHERE veterinarian <> {name}"  # noqa: S608 constants
    )
    op.drop_index("ix_appointment_veterinarian", "appointment")
    op.create_index(
        "ix_appointment_veterinarian",
        "appointment",
        [sa.text("casefold(veterinarian)"), *BY_TIME],
    )


def downgrade() -> None:
    op.drop_index("ix_appointment_veterinarian", "appointment")
    op.create_index("ix_appointment_veterinarian", "appointment", ["veterinarian", *BY_TIME])
    op.drop_index("uq_appointment_pet_id_minute", "appointment")
    op.create_index(
        "uq_appointment_pet_id_scheduled_at",
        "appointment",
        ["pet_id", "scheduled_at"],
        unique=True,
        postgresql_where=sa.text("status <> 'cancelled'"),
    )
    op.drop_column("appointment", "shares_minute")
