"""Read the generators of a run, and say what they did differently from each other."""

from collections.abc import Mapping, Sequence

from lab.clients.prometheus import Prometheus
from lab.promql import load_run
from lab.promql.load_run import PUSH_SECONDS
from lab.promql.selectors import GENERATOR, RunSelector
from lab.runs.record import Generator

# Sentences name so many.
MAX_NAMES = 8


def read_generators(prometheus: Prometheus, run: RunSelector, at: float) -> list[Generator]:
    """Read what each generator of a run did, `2` before `10`; none of a single one."""

    def times(query: str) -> dict[str, tuple[float, Mapping[str, str]]]:
        found = prometheus.series(query, at)
        return {labels.get(GENERATOR, ""): (value, labels) for labels, value in found}

    starts, ends = times(load_run.start_marks(run)), times(load_run.end_marks(run))
    if len(starts) < 2:  # noqa: PLR2004 - several
        return []
    requests = prometheus.by_label(load_run.requests(run, GENERATOR), GENERATOR, at)
    passed = prometheus.by_label(load_run.own_results(run), GENERATOR, at)
    first = min(started for started, _ in starts.values())
    generators = [
        Generator(
            name=name,
            profile=labels.get("profile"),
            started=started - first,
            ended=ends[name][0] - first if name in ends else None,
            requests=round(requests.get(name, 0)),
            passed=passed[name] == 1 if name in passed else None,
        )
        for name, (started, labels) in starts.items()
    ]
    return sorted(generators, key=lambda one: (len(one.name), one.name))


def profile_of(starts: Sequence[Mapping[str, str]]) -> str | None:
    """Name the profile of a run, or those of its generators: `load+stress`."""
    return "+".join(sorted({labels["profile"] for labels in starts if "profile" in labels})) or None


def describe_generators(generators: list[Generator], expected: int, *, running: bool) -> list[str]:
    """Say what makes a run of several generators less than what was asked for."""
    sentences = []
    if len(generators) < expected and not running:
        sentences.append(
            f"{expected - len(generators)} of the {expected} generators that share the load "
            "reported nothing: it was smaller than planned."
        )
    silent = [one.name for one in generators if one.ended is None]
    if silent and not running:
        sentences.append(
            f"{len(silent)} of {max(expected, len(generators))} generators did not report the end "
            f"({names(silent)}): what they sent after their last metrics is in no number."
        )
    apart = max((one.started for one in generators), default=0.0)
    if apart > PUSH_SECONDS:
        sentences.append(
            f"The generators started up to {apart:.0f} s apart: the load was smaller until then."
        )
    profiles = sorted({one.profile for one in generators if one.profile})
    if len(profiles) > 1:
        sentences.append(
            f"The generators ran different profiles ({', '.join(profiles)}): each threshold was "
            "judged by the requests of those that have it."
        )
    return sentences


def names(generators: list[str]) -> str:
    """Name some generators."""
    more = f" and {len(generators) - MAX_NAMES} more" if len(generators) > MAX_NAMES else ""
    return f"{', '.join(generators[:MAX_NAMES])}{more}"
