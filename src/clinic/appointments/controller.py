from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter
from sqlalchemy import Delete, Update

from clinic.appointments import statements
from clinic.appointments.schemas import (
    AppointmentIn,
    AppointmentOut,
    AppointmentPatch,
    Status,
)
from clinic.database import Database, ResultRow, Statements
from clinic.etags import (
    Condition,
    answer_read,
    condition_of,
    precondition_failed,
    represent,
)
from clinic.fields import (
    AppointmentId,
    InvalidFieldError,
    PetId,
    Timestamp,
    patched_fields,
    to_utc,
)
from clinic.idempotency import respond_once
from clinic.openapi import COMMON, LOCATION, WITH_BODY, error_responses
from clinic.paging import DEFAULT_LIMIT, EARLIEST, LATEST, LINK, AfterTime, Limit, TimeCursor, page
from clinic.problems import INVALID_TIME, Fault, RefusedError, bad_parameter, or_404
from clinic.telemetry.context import add_created_id
from clinic.text import InvalidTextError, single_line

TIME: Any = {"schema_extra": {"format": "date-time"}}


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
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        pet_id: PetId,
        data: JSONBody[AppointmentIn],
    ) -> Response[AppointmentOut]:
        """Book an appointment in the future, at a time at which the pet has no other."""

        async def respond(database: Statements) -> Response[AppointmentOut]:
            ensure_future(data.scheduled_at)
            values = msgspec.structs.asdict(data)
            row = await database.one(statements.BOOK, pet_id=pet_id, **values)
            add_created_id("appointment", row.id)
            return represent(AppointmentOut, row, Location=f"/appointments/{row.id}")

        return await respond_once(request, database, respond, data)

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
        cursor: TimeCursor = None,
    ) -> Response[list[AppointmentOut]]:
        """List a pet's appointments by time; `Link` leads to the next page."""
        after = AfterTime.parse(cursor) if cursor is not None else AfterTime(EARLIEST, 0)
        rows = await database.all(
            statements.LIST_BY_PET,
            pet=pet_id,
            after_time=after.at,
            after_id=after.id,
            count=limit + 1,
        )
        if not rows:
            or_404(await database.first(statements.PET_EXISTS, pet=pet_id), "pet", pet_id)
        appointments = [AppointmentOut(*row) for row in rows]
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
                min_length=1,
                max_length=200,
                description="Name of the veterinarian, in any case and spacing.",
                schema_extra={"format": "single-line"},
            ),
        ] = None,
        status: Annotated[
            Status | None, QueryParameter(description="State of the appointments.")
        ] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: TimeCursor = None,
    ) -> Response[list[AppointmentOut]]:
        """List appointments by time; `Link` leads to the next page."""
        begin = parse_bound("from", since) if since is not None else EARLIEST
        end = parse_bound("to", until) if until is not None else LATEST
        if begin > end:
            raise bad_parameter("to", "Expected a time that is not before `from`.")
        after = AfterTime(begin, 0)
        if cursor is not None:
            after = max(after, AfterTime.parse(cursor))
        rows = await database.all(
            statements.agenda(
                by_veterinarian=veterinarian is not None, by_status=status is not None
            ),
            after_time=after.at,
            after_id=after.id,
            until=end,
            count=limit + 1,
            **{"veterinarian": parse_name(veterinarian)} if veterinarian is not None else {},
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
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        appointment_id: AppointmentId,
    ) -> Response[AppointmentOut]:
        row = await database.first(statements.READ, appointment_id=appointment_id)
        return answer_read(request, AppointmentOut, or_404(row, "appointment", appointment_id))

    @patch(
        "/appointments/{appointment_id:int}",
        operation_id="changeAppointment",
        summary="Change an appointment",
        responses=error_responses(*COMMON, 404, 409, 422, *WITH_BODY),
    )
    async def change(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        appointment_id: AppointmentId,
        data: JSONBody[AppointmentPatch],
    ) -> Response[AppointmentOut]:
        """Change the given fields of an appointment that is not cancelled."""
        values = patched_fields(data)
        if "scheduled_at" in values:
            ensure_future(values["scheduled_at"])
            values["shares_minute"] = False
        condition = condition_of(request)
        if values:
            row = await update_booked(
                database, statements.CHANGE, condition, appointment_id, **values
            )
            if row is not None:
                return represent(AppointmentOut, row)
        row = await read_fulfilling(database, condition, appointment_id)
        if values and row.status == Status.CANCELLED:
            raise RefusedError(HTTPStatus.CONFLICT, "The appointment is cancelled.")
        if values:
            raise precondition_failed()
        return represent(AppointmentOut, row)

    @post(
        "/appointments/{appointment_id:int}/cancel",
        status_code=HTTPStatus.OK,
        operation_id="cancelAppointment",
        summary="Cancel an appointment",
        responses=error_responses(*COMMON, 404),
    )
    async def cancel(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        appointment_id: AppointmentId,
    ) -> Response[AppointmentOut]:
        """Cancel an appointment. Repeating the request returns the same response."""
        condition = condition_of(request)

        async def respond(database: Statements) -> Response[AppointmentOut]:
            row = await update_booked(database, statements.CANCEL, condition, appointment_id)
            if row is None:
                row = await read_fulfilling(database, condition, appointment_id)
            return represent(AppointmentOut, row)

        return await respond_once(request, database, respond)


async def update_booked(
    database: Statements,
    statement: Update | Delete,
    condition: Condition | None,
    appointment_id: int,
    **values: Any,
) -> ResultRow | None:
    """Update an appointment that is booked and fulfils the condition; None if there is none."""
    versions: dict[str, Any] = {}
    if condition is not None:
        statement, versions = condition.restrict(statement)
    return await database.first(statement, appointment_id=appointment_id, **values, **versions)


async def read_fulfilling(
    database: Statements, condition: Condition | None, appointment_id: int
) -> ResultRow:
    """Read an appointment; raise 404 without it, 412 if it does not fulfil the condition."""
    row = await database.first(statements.READ, appointment_id=appointment_id)
    row = or_404(row, "appointment", appointment_id)
    if condition is not None and not condition.fulfilled(row.version):
        raise precondition_failed()
    return row


def ensure_future(time: datetime) -> None:
    """Refuse a time in the past."""
    if time <= datetime.now(UTC):
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "An appointment cannot be in the past.",
            Fault("Expected a time in the future.", pointer="#/scheduled_at"),
        )


def parse_name(value: str) -> str:
    """Return the veterinarian's name as it is stored, but for its case."""
    try:
        return single_line(value)
    except InvalidTextError as error:
        raise bad_parameter("veterinarian", f"Expected {error}.") from None


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
