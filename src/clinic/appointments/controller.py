from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from clinic.appointments import statements
from clinic.appointments.schemas import (
    AppointmentIn,
    AppointmentOut,
    AppointmentPatch,
    Status,
)
from clinic.database import Database
from clinic.fields import (
    SINGLE_LINE_PATTERN,
    AppointmentId,
    InvalidFieldError,
    PetId,
    Timestamp,
    patched_fields,
    to_utc,
)
from clinic.openapi import COMMON, LOCATION, WITH_BODY, error_responses
from clinic.paging import DEFAULT_LIMIT, LINK, AfterTime, Cursor, Limit, decode_cursor, page
from clinic.problems import INVALID_TIME, Fault, RefusedError, bad_parameter, or_404
from clinic.telemetry.context import add_created_id

TIME: Any = {"schema_extra": {"format": "date-time"}}
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class AppointmentController(Controller):
    tags = ("Appointments",)

    @post(
        "/pets/{pet_id:int}/appointments",
        operation_id="bookAppointment",
        summary="Book an appointment",
        responses=error_responses(*COMMON, 404, 409, 422, *WITH_BODY),
        response_headers=[LOCATION],
    )
    async def book(
        self, database: NamedDependency[Database], pet_id: PetId, data: JSONBody[AppointmentIn]
    ) -> Response[AppointmentOut]:
        """Book an appointment in the future, at a time at which the pet has no other."""
        ensure_future(data.scheduled_at)
        values = msgspec.structs.asdict(data)
        row = await database.one(statements.BOOK, pet_id=pet_id, **values)
        appointment = AppointmentOut(*row)
        add_created_id("appointment", appointment.id)
        return Response(appointment, headers={"Location": f"/appointments/{appointment.id}"})

    @get(
        "/pets/{pet_id:int}/appointments",
        operation_id="listAppointments",
        summary="List a pet's appointments",
        responses=error_responses(*COMMON, 404),
        response_headers=[LINK],
    )
    async def list_appointments(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        pet_id: PetId,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response[list[AppointmentOut]]:
        """List a pet's appointments by time; `Link` leads to the next page."""
        after = decode_cursor(cursor, AfterTime) if cursor else AfterTime(EARLIEST, 0)
        rows = await database.all(
            statements.LIST_BY_PET,
            pet=pet_id,
            after_time=after.at,
            after_id=after.id,
            count=limit + 1,
        )
        or_404(rows, "pet", pet_id)
        appointments = [AppointmentOut(*row) for row in rows if row.id is not None]
        return page(request, appointments, limit, cursor_key)

    @get(
        "/appointments",
        operation_id="readAgenda",
        summary="Read the agenda",
        responses=error_responses(*COMMON),
        response_headers=[LINK],
    )
    async def read_agenda(  # noqa: PLR0913, PLR0917 one argument for each query parameter
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        since: Annotated[
            str | None, QueryParameter(name="from", description="Earliest time, inclusive.", **TIME)
        ] = None,
        until: Annotated[
            str | None, QueryParameter(name="to", description="Latest time, exclusive.", **TIME)
        ] = None,
        veterinarian: Annotated[
            str | None,
            QueryParameter(
                pattern=SINGLE_LINE_PATTERN, max_length=200, description="Name of the veterinarian."
            ),
        ] = None,
        status: Annotated[
            Status | None, QueryParameter(description="State of the appointments.")
        ] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response[list[AppointmentOut]]:
        """List appointments by time; `Link` leads to the next page."""
        begin = parse_bound("from", since) if since else EARLIEST
        end = parse_bound("to", until) if until else LATEST
        if begin > end:
            raise bad_parameter("to", "Expected a time that is not before `from`.")
        after = AfterTime(begin, 0)
        if cursor:
            after = max(after, decode_cursor(cursor, AfterTime))
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
        return page(request, [AppointmentOut(*row) for row in rows], limit, cursor_key)

    @get(
        "/appointments/{appointment_id:int}",
        operation_id="readAppointment",
        summary="Read an appointment",
        responses=error_responses(*COMMON, 404),
    )
    async def read(
        self, database: NamedDependency[Database], appointment_id: AppointmentId
    ) -> AppointmentOut:
        row = await database.first(statements.READ, appointment_id=appointment_id)
        return AppointmentOut(*or_404(row, "appointment", appointment_id))

    @patch(
        "/appointments/{appointment_id:int}",
        operation_id="changeAppointment",
        summary="Change an appointment",
        responses=error_responses(*COMMON, 404, 409, 422, *WITH_BODY),
    )
    async def change(
        self,
        database: NamedDependency[Database],
        appointment_id: AppointmentId,
        data: JSONBody[AppointmentPatch],
    ) -> AppointmentOut:
        """Change the given fields of an appointment that is not cancelled."""
        values = patched_fields(data)
        if "scheduled_at" in values:
            ensure_future(values["scheduled_at"])
        if values:
            row = await database.first(statements.CHANGE, appointment_id=appointment_id, **values)
            if row is not None:
                return AppointmentOut(*row)
        row = await database.first(statements.READ, appointment_id=appointment_id)
        appointment = AppointmentOut(*or_404(row, "appointment", appointment_id))
        if values:
            raise RefusedError(HTTPStatus.CONFLICT, "The appointment is cancelled.")
        return appointment

    @post(
        "/appointments/{appointment_id:int}/cancel",
        status_code=HTTPStatus.OK,
        operation_id="cancelAppointment",
        summary="Cancel an appointment",
        responses=error_responses(*COMMON, 404),
    )
    async def cancel(
        self, database: NamedDependency[Database], appointment_id: AppointmentId
    ) -> AppointmentOut:
        """Cancel an appointment. Repeating the request returns the same response."""
        row = await database.first(statements.CANCEL, appointment_id=appointment_id)
        return AppointmentOut(*or_404(row, "appointment", appointment_id))


def ensure_future(time: datetime) -> None:
    """Refuse a time in the past."""
    if time <= datetime.now(UTC):
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "An appointment cannot be in the past.",
            Fault("Expected a time in the future.", pointer="#/scheduled_at"),
        )


def parse_bound(parameter: str, value: str) -> datetime:
    """Parse the start or end of the agenda."""
    try:
        # A plus sign that is not percent-encoded arrives as a space.
        return to_utc(msgspec.convert(value.replace(" ", "+"), Timestamp), parameter)
    except msgspec.ValidationError:
        raise bad_parameter(parameter, INVALID_TIME) from None
    except InvalidFieldError as error:
        raise bad_parameter(parameter, error.detail) from None


def cursor_key(last: AppointmentOut) -> AfterTime:
    """Return the position of this appointment in a list by time."""
    return AfterTime(last.scheduled_at, last.id)
