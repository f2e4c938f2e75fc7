"""Read a part of a run, such as the minutes in which its load was steady."""

import re
from contextlib import suppress
from dataclasses import dataclass

from msgspec.structs import replace

from lab.clients import tempo_or_jaeger
from lab.clients.prometheus import Prometheus
from lab.clients.spans import Part, Period
from lab.clients.trace_store import TraceStoreError
from lab.console import clock, duration
from lab.errors import UserError
from lab.promql.load_run import PUSH_SECONDS
from lab.runs import reader
from lab.runs.record import Record, RecordError, load_saved
from lab.stack.config import StackConfig

MOMENT = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):([0-5]\d)|(\d+)s?)")
# A part is at least two pushes of k6.
MIN_SECONDS = 2 * PUSH_SECONDS


@dataclass(frozen=True, slots=True)
class Bounds:
    """The start and end of a part in seconds since the start of the run; None is the run's own."""

    begin: float | None = None
    end: float | None = None

    def __bool__(self) -> bool:
        return self.begin is not None or self.end is not None

    def of(self, run_id: str, period: Period) -> Part:
        """Return the part of a run; raise if the run does not have it."""
        begin = self.begin or 0.0
        end = period.seconds if self.end is None else self.end
        for option, moment in (("from", begin), ("to", end)):
            if moment > period.seconds + PUSH_SECONDS:
                lasted = f"{run_id} took {duration(period.seconds)}"
                raise UserError(f"{lasted}: --{option} {clock(moment)} is after its end.")
        end = min(end, period.seconds)
        if end - begin < MIN_SECONDS:
            raise UserError(
                f"A part takes at least {MIN_SECONDS} s; --from {clock(begin)} --to {clock(end)} "
                f"of {run_id} does not."
            )
        return Part(period.started + begin, period.started + end, run=period)


def parse_moment(text: str) -> float:
    """Parse a time since the start of a run: `1:30`, `1:02:05`, `90` or `90s`."""
    match = MOMENT.fullmatch(text)
    if not match:
        raise UserError(f"{text!r} is not a time since the start of the run, such as 1:30 or 90s.")
    hours, minutes, seconds, alone = (float(number or 0) for number in match.groups())
    return 3600 * hours + 60 * minutes + seconds + alone


def read_metrics(prometheus: Prometheus, run_id: str, bounds: Bounds) -> Record:
    """Read what Prometheus knows of a part of a run.

    It has no verdict, thresholds or checks, which are of the whole run, as its completeness is.
    """
    run = reader.find_period(prometheus, run_id)
    part = bounds.of(run_id, run)
    record = reader.read_metrics(prometheus, run_id, part, finished=True)
    return replace(
        reader.with_published(prometheus, record),
        part=(part.started - run.started, part.ended - run.started),
        period=Period(part.started, part.ended),
        verdict="none",
        verdict_reason="",
        thresholds=[],
        checks=[],
        completeness=reader.read_completeness(prometheus, run_id, run),
    )


def read(config: StackConfig, run_id: str, bounds: Bounds) -> Record:
    """Read metrics, traces and environment of a part of a run."""
    with Prometheus(config.prometheus) as prometheus:
        record = read_metrics(prometheus, run_id, bounds)
        missing = reader.describe_disturbances(prometheus, run_id, record.period)
        guess = reader.slow_seconds(prometheus, record)
    try:
        with tempo_or_jaeger.connect(config.trace_store) as store:
            record = reader.with_traces(record, store, guess)
    except TraceStoreError as error:
        missing.append(error.message)
    return with_environment(replace(record, missing=missing))


def with_environment(record: Record) -> Record:
    """Add the environment, name and note that the record of the whole run has."""
    with suppress(RecordError):
        if saved := load_saved(record.run_id):
            return replace(record, name=saved.name, note=saved.note, environment=saved.environment)
    return record
