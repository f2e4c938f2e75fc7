"""The calls on appointments."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter

from clinic.appointments import statements
from clinic.appointments.schemas import (
    AppointmentIn,
    AppointmentOut,
    AppointmentPatch,
    Status,
)
from clinic.database import Database
from clinic.fields import LINE, MAX_ID, Moment, changes, in_utc
from clinic.paging import LINK, AfterTime, Cursor, Limit, key_of, page
from clinic.pets.controller import PetId
from clinic.problems import (
    BODY,
    EVERY,
    LOCATION,
    Fault,
    RefusedError,
    answers,
    bad_parameter,
    expected,
    found,
)

AppointmentId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="The appointment's id.")]
TIME: Any = {"schema_extra": {"format": "date-time"}}
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class AppointmentController(Controller):
    tags = ("Appointments",)

    @post(
        "/pets/{pet_id:int}/appointments",
        operation_id="bookAppointment",
        summary="Book an appointment",
        responses=answers(*EVERY, 404, 409, 422, *BODY),
        response_headers=[LOCATION],
    )
    async def book(
        self, database: NamedDependency[Database], pet_id: PetId, data: JSONBody[AppointmentIn]
    ) -> Response[AppointmentOut]:
        """Book an appointment in the future; a pet has one at a time."""
        still_to_come(data.scheduled_at)
        values = msgspec.structs.asdict(data)
        row = await database.one(statements.BOOK, pet_id=pet_id, **values)
        appointment = AppointmentOut(*found(row, "appointment"))
        return Response(appointment, headers={"Location": f"/appointments/{appointment.id}"})

    @get(
        "/pets/{pet_id:int}/appointments",
        operation_id="listAppointments",
        summary="List a pet's appointments",
        responses=answers(*EVERY, 404),
        response_headers=[LINK],
    )
    async def of_pet(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        pet_id: PetId,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response[list[AppointmentOut]]:
        """List a pet's appointments by time; `Link` leads to the next page while there is more."""
        after = key_of(cursor, AfterTime) if cursor else AfterTime(EARLIEST, 0)
        rows = await database.all(
            statements.OF_PET, pet=pet_id, after_time=after.at, after_id=after.id, count=limit + 1
        )
        found(rows, "pet", pet_id)
        appointments = [AppointmentOut(*row) for row in rows if row.id is not None]
        return page(request, appointments, limit, key)

    @get(
        "/appointments",
        operation_id="readAgenda",
        summary="Read the agenda",
        responses=answers(*EVERY),
        response_headers=[LINK],
    )
    async def agenda(  # noqa: PLR0913, PLR0917 one argument for each query parameter
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        since: Annotated[
            str | None, QueryParameter(name="from", description="From this time on.", **TIME)
        ] = None,
        until: Annotated[
            str | None, QueryParameter(name="to", description="Before this time.", **TIME)
        ] = None,
        veterinarian: Annotated[
            str | None, QueryParameter(pattern=LINE, max_length=200, description="Of this one.")
        ] = None,
        status: Annotated[Status | None, QueryParameter(description="In this state.")] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response[list[AppointmentOut]]:
        """List appointments by time; `Link` leads to the next page while there is more."""
        begin = bound("from", since) if since else EARLIEST
        end = bound("to", until) if until else LATEST
        if begin > end:
            raise bad_parameter("to", "Expected a time that is not before `from`.")
        after = AfterTime(begin, 0)
        if cursor:
            after = max(after, key_of(cursor, AfterTime))
        rows = await database.all(
            statements.agenda(
                by_veterinarian=veterinarian is not None, by_status=status is not None
            ),
            after_time=after.at,
            after_id=after.id,
            until=end,
            count=limit + 1,
            **{"veterinarian": veterinarian} if veterinarian is not None else {},
            **{"status": status} if status is not None else {},
        )
        return page(request, [AppointmentOut(*row) for row in rows], limit, key)

    @get(
        "/appointments/{appointment_id:int}",
        operation_id="readAppointment",
        summary="Read an appointment",
        responses=answers(*EVERY, 404),
    )
    async def read(
        self, database: NamedDependency[Database], appointment_id: AppointmentId
    ) -> AppointmentOut:
        """Read one appointment."""
        row = await database.one(statements.READ, appointment_id=appointment_id)
        return AppointmentOut(*found(row, "appointment", appointment_id))

    @patch(
        "/appointments/{appointment_id:int}",
        operation_id="changeAppointment",
        summary="Change an appointment",
        responses=answers(*EVERY, 404, 409, 422, *BODY),
    )
    async def change(
        self,
        database: NamedDependency[Database],
        appointment_id: AppointmentId,
        data: JSONBody[AppointmentPatch],
    ) -> AppointmentOut:
        """Change the given fields of an appointment that is not cancelled."""
        values = changes(data)
        if "scheduled_at" in values:
            still_to_come(values["scheduled_at"])
        if values:
            row = await database.one(statements.CHANGE, appointment_id=appointment_id, **values)
            if row is not None:
                return AppointmentOut(*row)
        row = await database.one(statements.READ, appointment_id=appointment_id)
        appointment = AppointmentOut(*found(row, "appointment", appointment_id))
        if values:
            raise RefusedError(HTTPStatus.CONFLICT, "The appointment is cancelled.")
        return appointment

    @post(
        "/appointments/{appointment_id:int}/cancel",
        status_code=HTTPStatus.OK,
        operation_id="cancelAppointment",
        summary="Cancel an appointment",
        responses=answers(*EVERY, 404),
    )
    async def cancel(
        self, database: NamedDependency[Database], appointment_id: AppointmentId
    ) -> AppointmentOut:
        """Cancel an appointment; cancelling it again changes nothing and answers the same."""
        row = await database.one(statements.CANCEL, appointment_id=appointment_id)
        return AppointmentOut(*found(row, "appointment", appointment_id))


def still_to_come(moment: datetime) -> None:
    """Refuse a time that has passed."""
    if moment <= datetime.now(UTC):
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "An appointment cannot be in the past.",
            Fault("Expected a time in the future.", pointer="#/scheduled_at"),
        )


def bound(parameter: str, value: str) -> datetime:
    """Read a bound of the agenda."""
    try:
        # A plus sign that is not percent-encoded arrives as a space.
        return in_utc(msgspec.convert(value.replace(" ", "+"), Moment), parameter)
    except (ValueError, msgspec.ValidationError) as error:
        raise bad_parameter(parameter, expected(str(error).partition(" - ")[0])) from None


def key(last: AppointmentOut) -> AfterTime:
    """Return where a list by time goes on after this appointment."""
    return AfterTime(last.scheduled_at, last.id)
