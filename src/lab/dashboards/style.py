"""What looks the same on every dashboard: colours, units, and how a cell shows its value."""

from collections.abc import Iterable
from itertools import cycle

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import dashboard as models

from lab import slo
from lab.promql.load_run import VERDICT_CODES

# Distinct to colour-blind readers, in the dark and the light theme.
CLIENT = "#3d85e0"
SERVER = "#e68a00"
DATABASE = "#14a38b"
LOAD = "#8f7fd6"
GOOD = "#2fa25a"
BAD = "#e0455e"
WARNING = "#d9a400"
NEUTRAL = "#8a8f98"

# Series with a colour of their own, by legend.
_LEGENDS = {
    CLIENT: ("organic", "requests", "k6", "client", "outside server"),
    SERVER: (
        *("server", "in server", "p95", "resident", "sent", "waiting"),
        *("clinic", "Prometheus", "event-loop delay p95"),
    ),
    DATABASE: ("database", "in database", "in use", "stored", "span metrics", "Tempo"),
    LOAD: ("load runs", "virtual users", "live traces"),
    BAD: ("p99", "503 responses", "dropped", "failed"),
    WARNING: ("failed to send", "dropped iterations"),
    NEUTRAL: ("p50", "pool size", "created", "limit", "free"),
}
LEGENDS = {legend: colour for colour, legends in _LEGENDS.items() for legend in legends}

_WRITES = ("#f2a541", "#d9622b", "#b5477a", "#8f5a2a")
_READS = ("#4aa8ff", "#22c1a8", "#6d7cff", "#9ad14b", "#b8bcc4")


def colour_operations(operations: Iterable[str]) -> dict[str, str]:
    """Give writes warm colours and reads cool ones; colours recur if there are too few."""
    reads, writes = cycle(_READS), cycle(_WRITES)
    return {name: next(reads if name.startswith("GET ") else writes) for name in operations}


OPERATIONS = colour_operations(slo.OPERATIONS)

# Grafana's names for units.
SECONDS = "s"
REQUESTS_PER_SECOND = "reqps"
PER_SECOND = "suffix:/s"
SHARE = "percentunit"
COUNT = "locale"
NUMBER = "short"
RATIO = "prefix:\N{MULTIPLICATION SIGN}"
BYTES = "bytes"
CORES = "suffix:cores"
TIME = "dateTimeAsIso"
TEXT = "string"

Property = models.DynamicConfigValue
# A value, the text in its place, and the text's colour.
Word = tuple[float, str, str]

PASSED_OR_FAILED: list[Word] = [(1, "✓ passed", GOOD), (0, "✗ failed", BAD)]
VERDICTS: list[Word] = [
    (VERDICT_CODES["passed"], "✓ passed", GOOD),
    (VERDICT_CODES["failed"], "✗ failed", BAD),
    (VERDICT_CODES["aborted"], "aborted", WARNING),
    (VERDICT_CODES["running"], "running", CLIENT),
    (VERDICT_CODES["none"], "no verdict", NEUTRAL),
    (VERDICT_CODES["unknown run"], "no data", NEUTRAL),
]

# Write a cell in the colour of its value.
COLOURED_TEXT = Property(id_val="custom.cellOptions", value={"type": "color-text"})
WRAPPED = Property(id_val="custom.cellOptions", value={"type": "auto", "wrapText": True})
# Hide a column that only links use.
HIDDEN = Property(id_val="custom.hideFrom.viz", value=True)


def fixed(colour: str) -> Property:
    """Use this colour for a series, or a value, whatever its value."""
    return Property(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def unit(name: str) -> Property:
    return Property(id_val="unit", value=name)


def width(pixels: int) -> Property:
    return Property(id_val="custom.width", value=pixels)


def decimals(count: int) -> Property:
    return Property(id_val="decimals", value=count)


def link(title: str, url: str) -> Property:
    """Link a cell to a URL, which may use the row's other fields."""
    return Property(id_val="links", value=[{"title": title, "url": url, "targetBlank": False}])


def steps(*above: tuple[float, str], below: str = GOOD) -> ThresholdsConfig:
    """Colour a value by the highest step that it reaches."""
    from_bottom = ((None, below), *above)
    return ThresholdsConfig().steps([models.Threshold(*step) for step in from_bottom])


def limit(value: float) -> Property:
    """Colour a cell as bad from a value on."""
    return Property(id_val="thresholds", value=steps((value, BAD)).build())


def mappings(words: list[Word]) -> list[models.ValueMapping]:
    """Show words in place of a panel's values."""
    return [
        models.ValueMap({f"{value:g}": models.ValueMappingResult(text=text, color=colour, index=i)})
        for i, (value, text, colour) in enumerate(words)
    ]


def words(words: list[Word]) -> list[Property]:
    """Show coloured words in place of a cell's values."""
    return [Property(id_val="mappings", value=mappings(words)), COLOURED_TEXT]
