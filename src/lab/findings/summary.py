"""What is found in one run, computed once for its terminal report and its report page."""

from dataclasses import dataclass

from lab.findings.nearest_limit import NearestLimit, find_nearest_limit
from lab.findings.saturation import Saturation, find_saturation
from lab.runs.record import Record


@dataclass(frozen=True, slots=True)
class Findings:
    """What a run shows: `nearest_limit` is None without limits, `saturation` with a steady load."""

    nearest_limit: NearestLimit | None
    saturation: Saturation | None


def find(record: Record) -> Findings:
    return Findings(find_nearest_limit(record), find_saturation(record))
