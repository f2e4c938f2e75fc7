"""Everything that is found in one run, computed once for its terminal report and its page."""

from dataclasses import dataclass

from lab.findings.saturation import Saturation, find_saturation
from lab.findings.slowest import SlowestOperation, slowest_operation
from lab.runs.record import Record


@dataclass(frozen=True, slots=True)
class Findings:
    """What a run shows: `slowest` is None without limits, `saturation` with a steady load."""

    slowest: SlowestOperation | None
    saturation: Saturation | None


def find(record: Record) -> Findings:
    """Find what a run shows."""
    return Findings(slowest_operation(record), find_saturation(record))
