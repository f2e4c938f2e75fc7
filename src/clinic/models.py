"""The tables and the constraints that PostgreSQL enforces.

advanced-alchemy supplies the base class, the engine's configuration and the Alembic commands.
Requests do not use the mapped classes: they run SQLAlchemy Core statements on the tables below,
which need no session.
"""

from datetime import datetime
from typing import Any, ClassVar

from advanced_alchemy.base import IdentityBase
from sqlalchemy import (
    TIMESTAMP,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

BOOKED = "booked"
CANCELLED = "cancelled"
FULL_FOLDING = "pg_unicode_fast"
"""PostgreSQL's collation with Unicode's full case folding, whatever the database's locale is."""
MINUTE = "date_bin('00:01:00'::interval, scheduled_at, to_timestamp(0::double precision))"


class Base(IdentityBase):
    """A table with an identity key and the time of each row's insertion."""

    __abstract__ = True
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: TIMESTAMP(timezone=True)}

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Owner(Base):
    __table_args__ = (Index("uq_owner_email", text("lower(email)"), unique=True),)

    name: Mapped[str]
    email: Mapped[str]
    phone: Mapped[str | None]


class Pet(Base):
    __table_args__ = (Index("ix_pet_owner_id", "owner_id", "id"),)

    owner_id: Mapped[int] = mapped_column(ForeignKey("owner.id", ondelete="CASCADE"))
    name: Mapped[str]
    species: Mapped[str]
    breed: Mapped[str | None]


class Appointment(Base):
    __table_args__ = (
        CheckConstraint(f"status IN ('{BOOKED}', '{CANCELLED}')", name="status"),
        CheckConstraint(f"(status = '{CANCELLED}') = (cancelled_at IS NOT NULL)", name="cancelled"),
        Index(
            "uq_appointment_pet_id_minute",
            "pet_id",
            text(MINUTE),
            unique=True,
            postgresql_where=text(f"status <> '{CANCELLED}' AND NOT shares_minute"),
        ),
        Index("ix_appointment_pet_id", "pet_id", "scheduled_at", "id"),
        Index("ix_appointment_status", "status", "scheduled_at", "id"),
        Index(
            "ix_appointment_status_veterinarian",
            "status",
            text(f"casefold(veterinarian COLLATE {FULL_FOLDING})"),
            "scheduled_at",
            "id",
        ),
    )

    pet_id: Mapped[int] = mapped_column(ForeignKey("pet.id", ondelete="CASCADE"))
    scheduled_at: Mapped[datetime]
    reason: Mapped[str]
    veterinarian: Mapped[str | None]
    notes: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default=BOOKED)
    cancelled_at: Mapped[datetime | None]
    shares_minute: Mapped[bool] = mapped_column(server_default=text("false"))
    """True for bookings of earlier versions in the same minute as another of the pet."""


IDEMPOTENCY_KEY = Table(
    "idempotency_key",
    Base.metadata,
    Column("path", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("location", String),
    Column("etag", String, nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), server_default=func.now(), nullable=False),
    Index("ix_idempotency_key_created_at", "created_at"),
)
"""Responses to POST by path and idempotency key, for 24 hours."""

OWNER = Base.metadata.tables["owner"]
PET = Base.metadata.tables["pet"]
APPOINTMENT = Base.metadata.tables["appointment"]
"""The tables, for Core statements."""
