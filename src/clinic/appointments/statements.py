from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, insert, select, tuple_, update

from clinic.appointments.schemas import AppointmentOut
from clinic.database import columns
from clinic.models import APPOINTMENT, BOOKED, CANCELLED, PET

COLUMNS = columns(APPOINTMENT, AppointmentOut)
BY_ID = APPOINTMENT.c.id == bindparam("appointment_id")
BY_TIME = (APPOINTMENT.c.scheduled_at, APPOINTMENT.c.id)
AFTER_CURSOR = tuple_(*BY_TIME) > tuple_(bindparam("after_time"), bindparam("after_id"))

BOOK = insert(APPOINTMENT).returning(*COLUMNS)
READ = select(*COLUMNS).where(BY_ID)
CHANGE = update(APPOINTMENT).where(BY_ID, APPOINTMENT.c.status == BOOKED).returning(*COLUMNS)
CANCEL = (
    update(APPOINTMENT)
    .where(BY_ID)
    .values(status=CANCELLED, cancelled_at=func.coalesce(APPOINTMENT.c.cancelled_at, func.now()))
    .returning(*COLUMNS)
)

# A pet without appointments gives one row whose columns are null; no row means no such pet.
LIST_BY_PET = (
    select(*COLUMNS)
    .select_from(PET)
    .outerjoin(APPOINTMENT, and_(APPOINTMENT.c.pet_id == PET.c.id, AFTER_CURSOR))
    .where(PET.c.id == bindparam("pet"))
    .order_by(*BY_TIME)
    .limit(bindparam("count"))
)


@cache
def agenda(*, by_veterinarian: bool, by_status: bool) -> Select[Any]:
    """Select a page of the agenda, with only the filters in use so that an index serves them."""
    statement = (
        select(*COLUMNS)
        .where(AFTER_CURSOR, APPOINTMENT.c.scheduled_at < bindparam("until"))
        .order_by(*BY_TIME)
        .limit(bindparam("count"))
    )
    if by_veterinarian:
        statement = statement.where(APPOINTMENT.c.veterinarian == bindparam("veterinarian"))
    if by_status:
        statement = statement.where(APPOINTMENT.c.status == bindparam("status"))
    return statement
