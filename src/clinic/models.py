"""The three tables and the constraints that PostgreSQL enforces.

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
    ForeignKey,
    Index,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

BOOKED = "booked"
CANCELLED = "cancelled"


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
            "uq_appointment_pet_id_scheduled_at",
            "pet_id",
            "scheduled_at",
            unique=True,
            postgresql_where=text(f"status <> '{CANCELLED}'"),
        ),
        Index("ix_appointment_pet_id", "pet_id", "scheduled_at", "id"),
        Index("ix_appointment_scheduled_at", "scheduled_at", "id"),
        Index("ix_appointment_veterinarian", "veterinarian", "scheduled_at", "id"),
    )

    pet_id: Mapped[int] = mapped_column(ForeignKey("pet.id", ondelete="CASCADE"))
    scheduled_at: Mapped[datetime]
    reason: Mapped[str]
    veterinarian: Mapped[str | None]
    notes: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default=BOOKED)
    cancelled_at: Mapped[datetime | None]


OWNER = Base.metadata.tables["owner"]
PET = Base.metadata.tables["pet"]
APPOINTMENT = Base.metadata.tables["appointment"]
"""The tables, for Core statements."""
