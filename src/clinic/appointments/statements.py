from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    String,
    bindparam,
    func,
    insert,
    select,
    tuple_,
    union_all,
    update,
)

from clinic.appointments.schemas import AppointmentOut
from clinic.database import columns
from clinic.etags import versioned_columns
from clinic.models import APPOINTMENT, BOOKED, CANCELLED, FULL_FOLDING, PET

COLUMNS = columns(APPOINTMENT, AppointmentOut)
VERSIONED = versioned_columns(APPOINTMENT, AppointmentOut)
BY_ID = APPOINTMENT.c.id == bindparam("appointment_id")
BY_TIME = (APPOINTMENT.c.scheduled_at, APPOINTMENT.c.id)
CURSOR: tuple[BindParameter[Any], ...] = (bindparam("after_time"), bindparam("after_id"))

BOOK = insert(APPOINTMENT).returning(*VERSIONED)
READ = select(*VERSIONED).where(BY_ID)
CHANGE = update(APPOINTMENT).where(BY_ID, APPOINTMENT.c.status == BOOKED).returning(*VERSIONED)
CANCEL = (
    update(APPOINTMENT)
    .where(BY_ID, APPOINTMENT.c.status == BOOKED)
    .values(status=CANCELLED, cancelled_at=func.now())
    .returning(*VERSIONED)
)

PET_EXISTS = select(PET.c.id).where(PET.c.id == bindparam("pet"))
LIST_BY_PET = (
    select(*COLUMNS)
    .where(
        APPOINTMENT.c.pet_id <= bindparam("pet"),
        tuple_(APPOINTMENT.c.pet_id, *BY_TIME) > tuple_(bindparam("pet"), *CURSOR),
    )
    .order_by(APPOINTMENT.c.pet_id, *BY_TIME)
    .limit(bindparam("count"))
)


def folded(name: ColumnElement[str]) -> ColumnElement[str]:
    return func.casefold(name.collate(FULL_FOLDING))


@cache
def agenda(*, by_veterinarian: bool, by_status: bool) -> Select[Any]:
    """Select a page of the agenda: of one status, or merged from the pages of both.

    So two indexes serve every combination of filters. Those by a veterinarian are sorted by the
    name too, which is the same for all: no other index serves that order.
    """
    name = [folded(APPOINTMENT.c.veterinarian).label("name")] if by_veterinarian else []
    wanted = [folded(bindparam("veterinarian", type_=String))] if by_veterinarian else []

    def of_status(status: Any) -> Select[Any]:
        return (
            select(*COLUMNS, *name)
            .where(
                APPOINTMENT.c.status == status,
                tuple_(*name, *BY_TIME) > tuple_(*wanted, *CURSOR),
                tuple_(*name, APPOINTMENT.c.scheduled_at) < tuple_(*wanted, bindparam("until")),
            )
            .order_by(*name, *BY_TIME)
            .limit(bindparam("count"))
        )

    if by_status:
        return of_status(bindparam("status")).with_only_columns(*COLUMNS)
    both = union_all(of_status(BOOKED), of_status(CANCELLED)).subquery().c
    return (
        select(*(both[column.name] for column in COLUMNS))
        .order_by(*(both[column.name] for column in (*name, *BY_TIME)))
        .limit(bindparam("count"))
    )
