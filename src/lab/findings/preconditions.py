"""Say whether two runs can be compared, and what else is not the same."""

from urllib.parse import urlsplit

from lab.runs.record import Record
from lab.runs.timeline import PUSH_INTERVAL

ENOUGH = 20.0
SAME_LENGTH = 0.95
# What tells k6 how much load.
LOAD = ("RATE", "VUS")
# From here on what other programs take is worth a word.
BUSY = 0.1


def problems(before: Record, after: Record) -> list[str]:
    """Say what keeps two runs from being compared, if anything does."""
    found = [
        f"The {what} is not the same: {was}, then {now}."
        for what, was, now in (
            ("profile", before.profile, after.profile),
            ("journey", before.journey, after.journey),
            ("plan", _plan(before), _plan(after)),
            ("machine", _machine(before), _machine(after)),
            ("target", _target(before), _target(after)),
        )
        if was and now and was != now
    ]
    return [*found, *filter(None, map(_unfit, (before, after)))]


def _unfit(run: Record) -> str | None:
    """Say why a run compares with no other, if it does not."""
    seconds = f"{run.period.seconds:.0f} s"
    if run.verdict == "running":
        return f"{run.run_id} is still on: compare when it has ended."
    if run.verdict == "aborted" or _stopped_early(run):
        return f"{run.run_id} ended early, after {seconds}."
    if not run.total.requests:
        return f"{run.run_id} made no request."
    if not run.histograms and run.period.seconds < ENOUGH:
        return (
            f"{run.run_id} is too short to tell noise from change with its {seconds}: "
            f"{ENOUGH:.0f} s are enough, some minutes are better."
        )
    if not run.histograms:
        return (
            f"{run.run_id} has no histograms to tell noise from: k6 sends them as `just` starts it."
        )
    return None


def _stopped_early(run: Record) -> bool:
    """Tell of a breakpoint that was found, for one: what came later is missing."""
    return run.planned is not None and run.period.seconds < min(
        run.planned - PUSH_INTERVAL, SAME_LENGTH * run.planned
    )


def remarks(before: Record, after: Record) -> list[str]:
    """Say what the reader has to judge alone."""
    was, now = other_cpu_share(before), other_cpu_share(after)
    if unknown := [run.run_id for run in (before, after) if not run.environment]:
        return [f"The machine of {' and '.join(unknown)} is not known: was it the same?"]
    if was is None or now is None:
        return ["It is not known what other programs took of the machine meanwhile."]
    if max(was, now) < BUSY:
        return []
    took = f"Other programs took {was:.0%} of the machine during A and {now:.0%} during B"
    return [f"{took}: the noise allows for it, and a quieter machine tells more."]


def changed(before: Record, after: Record) -> list[tuple[str, str, str]]:
    """List the programs and settings that are not the same, by name."""
    if not before.environment or not after.environment:
        return []
    was = {**before.environment.programs, **before.environment.settings}
    now = {**after.environment.programs, **after.environment.settings}
    return [
        (name, was.get(name, "-"), now.get(name, "-"))
        for name in {**was, **now}
        if was.get(name) != now.get(name)
    ]


def other_cpu_share(record: Record) -> float | None:
    return record.environment.other_cpu_share if record.environment else None


def _plan(record: Record) -> str:
    planned = "" if record.planned is None else f"{record.planned:g} s"
    settings = record.environment.settings if record.environment else {}
    given = (f"{name}={settings[name]}" for name in LOAD if settings.get(name))
    return " ".join(filter(None, (planned, *given)))


def _machine(record: Record) -> str | None:
    if not record.environment:
        return None
    machine = record.environment.machine
    return f"{machine.cores} cores of {machine.cpu}, {machine.platform}"


def _target(record: Record) -> str | None:
    """Name the clinic's host; its port may differ, as that of a pipeline does each time."""
    return urlsplit(record.environment.target).hostname if record.environment else None
