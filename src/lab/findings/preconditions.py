"""Check whether two runs can be compared, and what differs between them besides the result."""

from urllib.parse import urlsplit

from lab.console import percent
from lab.findings.names import CAUSES
from lab.runs.record import Environment, Record
from lab.runs.verdict import ended_early

# Without segments there is no noise estimate, and they take this long.
MIN_SECONDS = 20.0
# These change the load that a profile and a planned length stand for.
LOAD_SETTINGS = ("RATE", "VUS")
# A tenth of the CPU changes latencies by about as much as two runs of one build differ anyway.
MIN_OTHER_CPU_SHARE = 0.1


def problems(before: Record, after: Record) -> list[str]:
    """List what makes a comparison of the two meaningless."""
    differing = [
        f"The {what} differs: {first}, then {second}."
        for what, first, second in (
            ("profile", before.profile, after.profile),
            ("journey", before.journey, after.journey),
            ("planned length", _planned(before), _planned(after)),
            *((name, _setting(before, name), _setting(after, name)) for name in LOAD_SETTINGS),
            ("machine", _machine(before), _machine(after)),
            ("target", _target(before), _target(after)),
        )
        if first and second and first != second
    ]
    return [*differing, *filter(None, map(_problem, (before, after)))]


def _problem(run: Record) -> str | None:
    """Tell why a run cannot be compared with any other."""
    seconds = f"{run.period.seconds:.0f} s"
    if run.verdict == "running":
        return f"{run.run_id} is still running: compare it when it has ended."
    lengths = [(one.ended or 0.0) - one.started for one in run.generators]
    lengths = lengths or [run.period.seconds]
    early = not run.part and any(ended_early(length, run.planned) for length in lengths)
    if run.verdict == "aborted" or early:
        return f"{run.run_id} ended early, after {seconds}."
    if not run.total.requests:
        return f"{run.run_id} sent no requests."
    if not run.histograms and run.period.seconds < MIN_SECONDS:
        return (
            f"{run.run_id} is too short to estimate its noise ({seconds}): a run needs at least "
            f"{MIN_SECONDS:.0f} s, preferably several minutes."
        )
    if not run.histograms:
        return (
            f"{run.run_id} has no histograms, so its noise cannot be estimated: start k6 through "
            "`just`, or set K6_FEATURES=native-histograms."
        )
    return None


def remarks(before: Record, after: Record) -> list[str]:
    """List what the reader has to take into account."""
    if unknown := [run.run_id for run in (before, after) if not run.environment]:
        return [f"The machine of {' and '.join(unknown)} is unknown: check that it was the same."]
    first, second = other_cpu_share(before), other_cpu_share(after)
    if first is None or second is None:
        return ["How much CPU other programs used during the runs is unknown."]
    if max(first, second) < MIN_OTHER_CPU_SHARE:
        return []
    used = f"{percent(first)} of the CPU during A and {percent(second)} during B"
    return [f"Other programs used {used}. The noise includes this; use a quieter machine."]


def changes(before: Record, after: Record) -> list[tuple[str, str, str]]:
    """List what differs, with the value of each run: bottleneck, programs, settings."""
    bottlenecks = [CAUSES[run.bottleneck.cause] for run in (before, after)]
    first, second = bottlenecks
    found = [("bottleneck", first, second)] if first != second else []
    return [*found, *_environment_changes(before, after)]


def _environment_changes(before: Record, after: Record) -> list[tuple[str, str, str]]:
    if not before.environment or not after.environment:
        return []
    first, second = map(_built_and_set, (before.environment, after.environment))
    return [
        (name, first.get(name, "-"), second.get(name, "-"))
        for name in {**first, **second}
        if first.get(name) != second.get(name)
    ]


def _built_and_set(environment: Environment) -> dict[str, str]:
    commit = {"commit": environment.commit} if environment.commit else {}
    return {**commit, **environment.programs, **environment.settings}


def other_cpu_share(record: Record) -> float | None:
    return record.environment.other_cpu_share if record.environment else None


def _planned(record: Record) -> str | None:
    return None if record.planned is None else f"{record.planned:g} s"


def _setting(record: Record, name: str) -> str:
    settings = record.environment.settings if record.environment else {}
    return settings.get(name) or "not set"


def _machine(record: Record) -> str | None:
    if not record.environment:
        return None
    machine = record.environment.machine
    return f"{machine.cores} cores of {machine.cpu}, {machine.platform}"


def _target(record: Record) -> str | None:
    """Give the API's host without its port, which differs each time in a pipeline."""
    return urlsplit(record.environment.target).hostname if record.environment else None
