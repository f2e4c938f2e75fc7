"""A reference of the usual kind: FastAPI with synchronous handlers, SQLAlchemy's ORM and SQLite.

A session for each request, relationships that are loaded when an answer needs them. The answers are
the clinic's; with `REFERENCE_NESTED`, owners contain their pets, and these their appointments.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import AwareDatetime, BaseModel, ConfigDict, EmailStr
from sqlalchemy import ForeignKey, create_engine, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

PAGE = 100
engine = create_engine(
    f"sqlite:///{os.environ['REFERENCE_DATABASE']}", connect_args={"check_same_thread": False}
)


@event.listens_for(engine, "connect")
def configure(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


class Base(DeclarativeBase):
    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class Owner(Base):
    __tablename__ = "owner"
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    phone: Mapped[str | None]
    pets: Mapped[list["Pet"]] = relationship()


class Pet(Base):
    __tablename__ = "pet"
    owner_id: Mapped[int] = mapped_column(ForeignKey("owner.id"), index=True)
    name: Mapped[str]
    species: Mapped[str]
    breed: Mapped[str | None]
    appointments: Mapped[list["Appointment"]] = relationship()


class Appointment(Base):
    __tablename__ = "appointment"
    pet_id: Mapped[int] = mapped_column(ForeignKey("pet.id"), index=True)
    scheduled_at: Mapped[datetime]
    reason: Mapped[str]
    veterinarian: Mapped[str | None]
    notes: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="booked")


class OwnerIn(BaseModel):
    name: str
    email: EmailStr
    phone: str | None = None


class PetIn(BaseModel):
    name: str
    species: str
    breed: str | None = None


class AppointmentIn(BaseModel):
    scheduled_at: AwareDatetime
    reason: str
    veterinarian: str | None = None
    notes: str | None = None


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    created_at: datetime


class AppointmentOut(AppointmentIn, Out):
    scheduled_at: datetime  # SQLite keeps no offset
    pet_id: int
    status: str


class PetOut(PetIn, Out):
    owner_id: int


class OwnerOut(OwnerIn, Out):
    pass


class NestedPet(PetOut):
    appointments: list[AppointmentOut]


class NestedOwner(OwnerOut):
    pets: list[NestedPet]


PetAnswer: Any = PetOut
OwnerAnswer: Any = OwnerOut
if "REFERENCE_NESTED" in os.environ:
    PetAnswer, OwnerAnswer = NestedPet, NestedOwner


def open_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


SessionOf = Annotated[Session, Depends(open_session)]
Base.metadata.create_all(engine)
app = FastAPI()


def find(session: Session, kind: type[Any], key: int) -> Any:
    row = session.get(kind, key)
    if row is None:
        raise HTTPException(404, f"There is no {kind.__tablename__} {key}.")
    return row


def add(session: Session, row: Any) -> Any:
    session.add(row)
    try:
        session.commit()
    except IntegrityError:
        raise HTTPException(409, "It exists already.") from None
    session.refresh(row)
    return row


@app.post("/owners", status_code=201, response_model=OwnerAnswer)
def register_owner(session: SessionOf, data: OwnerIn) -> Any:
    return add(session, Owner(**data.model_dump()))


@app.get("/owners", response_model=list[OwnerAnswer])
def list_owners(session: SessionOf, skip: int = 0, limit: int = PAGE) -> Any:
    return session.scalars(select(Owner).order_by(Owner.id.desc()).offset(skip).limit(limit)).all()


@app.post("/owners/{owner_id}/pets", status_code=201, response_model=PetAnswer)
def register_pet(session: SessionOf, owner_id: int, data: PetIn) -> Any:
    find(session, Owner, owner_id)
    return add(session, Pet(owner_id=owner_id, **data.model_dump()))


@app.get("/owners/{owner_id}/pets", response_model=list[PetAnswer])
def list_pets(session: SessionOf, owner_id: int) -> Any:
    return find(session, Owner, owner_id).pets


@app.post("/pets/{pet_id}/appointments", status_code=201, response_model=AppointmentOut)
def book(session: SessionOf, pet_id: int, data: AppointmentIn) -> Any:
    find(session, Pet, pet_id)
    return add(session, Appointment(pet_id=pet_id, **data.model_dump()))


@app.get("/pets/{pet_id}/appointments", response_model=list[AppointmentOut])
def list_appointments(session: SessionOf, pet_id: int) -> Any:
    return find(session, Pet, pet_id).appointments
