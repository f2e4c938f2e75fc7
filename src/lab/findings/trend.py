"""The runs of one profile and journey in the order of their starts, against their baseline."""

from collections.abc import Mapping
from dataclasses import dataclass

from lab.errors import UserError
from lab.runs.record import UNFINISHED
from lab.runs.run_list import Runs, RunSummary

LAST = 20


@dataclass(frozen=True, slots=True)
class Trend:
    """Finished runs of one profile and journey, oldest first; `left_out` are not finished."""

    profile: str | None
    journey: str | None
    tags: Mapping[str, str]
    runs: list[RunSummary]
    baseline: RunSummary | None
    left_out: int

    def difference(self, run: RunSummary) -> float | None:
        """Relate a run's p95 to that of the baseline, as a share of it."""
        if not self.baseline or run.run_id == self.baseline.run_id:
            return None
        if not self.baseline.client_p95 or run.client_p95 is None:
            return None
        return run.client_p95 / self.baseline.client_p95 - 1

    @property
    def p95(self) -> list[float | None]:
        return [run.client_p95 for run in self.runs]

    @property
    def rate(self) -> list[float | None]:
        return [run.rate for run in self.runs]

    @property
    def failed_share(self) -> list[float | None]:
        return [run.failed_share for run in self.runs]


def find(
    runs: Runs,
    profile: str | None,
    journey: str | None,
    tags: Mapping[str, str],
    last: int = LAST,
) -> Trend:
    """Select the newest runs of a profile and journey, by default those of the newest run."""
    every = runs.select(profile, journey, tags)
    finished = [run for run in every if run.verdict not in UNFINISHED]
    if not finished:
        runs.newest()  # raises where there is no run at all
        raise UserError("No finished run matches. `just runs` lists all runs.")
    kind = finished[0].kind
    selected = [run for run in finished if run.kind == kind][:last]
    oldest = selected[-1].started or 0.0
    left_out = [run for run in every if run.kind == kind and run.verdict in UNFINISHED]
    return Trend(
        *kind,
        tags,
        runs=selected[::-1],
        baseline=runs.baseline(kind),
        left_out=sum((run.started or 0.0) >= oldest for run in left_out),
    )
