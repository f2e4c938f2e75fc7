"""The SQL of appointments."""

from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, insert, select, tuple_, update

from clinic.appointments.schemas import AppointmentOut
from clinic.database import columns
from clinic.models import APPOINTMENT, BOOKED, CANCELLED, PET

ANSWER = columns(APPOINTMENT, AppointmentOut)
THIS = APPOINTMENT.c.id == bindparam("appointment_id")
IN_TIME = (APPOINTMENT.c.scheduled_at, APPOINTMENT.c.id)
LATER = tuple_(*IN_TIME) > tuple_(bindparam("after_time"), bindparam("after_id"))

BOOK = insert(APPOINTMENT).returning(*ANSWER)
READ = select(*ANSWER).where(THIS)
CHANGE = update(APPOINTMENT).where(THIS, APPOINTMENT.c.status == BOOKED).returning(*ANSWER)
CANCEL = (
    update(APPOINTMENT)
    .where(THIS)
    .values(status=CANCELLED, cancelled_at=func.coalesce(APPOINTMENT.c.cancelled_at, func.now()))
    .returning(*ANSWER)
)

# The pet's row is there even when it has no appointment: no row at all means no such pet.
OF_PET = (
    select(*ANSWER)
    .select_from(PET)
    .outerjoin(APPOINTMENT, and_(APPOINTMENT.c.pet_id == PET.c.id, LATER))
    .where(PET.c.id == bindparam("pet"))
    .order_by(*IN_TIME)
    .limit(bindparam("count"))
)


@cache
def agenda(*, by_veterinarian: bool, by_status: bool) -> Select[Any]:
    """Select a page of the agenda by just the filters that are asked for, so that indexes serve."""
    statement = (
        select(*ANSWER)
        .where(LATER, APPOINTMENT.c.scheduled_at < bindparam("until"))
        .order_by(*IN_TIME)
        .limit(bindparam("count"))
    )
    if by_veterinarian:
        statement = statement.where(APPOINTMENT.c.veterinarian == bindparam("veterinarian"))
    if by_status:
        statement = statement.where(APPOINTMENT.c.status == bindparam("status"))
    return statement
