"""What looks the same on every dashboard: colours, units, and how a cell shows its value."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import dashboard as models

from lab import slo
from lab.findings.names import OUTCOMES, Tone, verdict_text
from lab.findings.names import VERDICTS as NAMES
from lab.promql.load_run import UNKNOWN_RUN, VERDICT_CODES
from lab.runs.record import PartName

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
    CLIENT: ("organic", "requests", "k6", "client"),
    SERVER: (
        *("server", "p95", "resident", "sent", "waiting"),
        *("clinic", "Prometheus", "event-loop delay p95"),
    ),
    DATABASE: ("database span", "in use", "stored", "span metrics", "Tempo"),
    LOAD: ("load runs", "virtual users", "live traces"),
    BAD: (
        *("p99", "dropped", "failed", "failed to send"),
        *("Alertmanager not reached", "dropped by Prometheus"),
    ),
    WARNING: ("dropped iterations",),
    NEUTRAL: ("p50", "pool size", "created", "limit", "free"),
}
LEGENDS = {legend: colour for colour, legends in _LEGENDS.items() for legend in legends}

# The parts of a request's time, in the order in which they are stacked.
PARTS: dict[PartName, str] = {
    "postgresql_executing": "#0f7d6b",
    "postgresql_locks": "#9a4fc0",
    "postgresql_commit": "#5fc9b4",
    "api_pool": "#a8622a",
    "api_working": "#e68a00",
    "api_event_loop": "#f4c272",
    "network": "#3d85e0",
    "generator": "#8db8f0",
    "unknown": "#b9bec7",
}

# From the median to the tail.
QUANTILES = {"p50": "#9ecbff", "p90": "#4a9bf5", "p95": "#e68a00", "p99": "#b5477a"}
# What uses resources.
PROGRAMS = {"API": SERVER, "PostgreSQL": DATABASE, "k6": CLIENT, "machine of k6": NEUTRAL}

_WRITES = ("#f2a541", "#d9622b", "#b5477a", "#8f5a2a")
_READS = ("#4aa8ff", "#22c1a8", "#6d7cff", "#9ad14b", "#b8bcc4")


def colour_operations(operations: Iterable[str]) -> dict[str, str]:
    """Give writes warm colours and reads cool ones; colours recur if there are too few."""
    reads, writes = cycle(_READS), cycle(_WRITES)
    return {name: next(reads if name.startswith("GET ") else writes) for name in operations}


OPERATIONS = colour_operations(slo.OPERATIONS)
# What fails has colours of its own, which mean bad.
_ERRORS = ("#e0455e", "#e68a00", "#b5477a", "#f2a541", "#8f2d3f", "#d9622b")
ERRORS = dict(zip(slo.OPERATIONS, cycle(_ERRORS), strict=False))
# What PostgreSQL's backends do.
WAITS = {"executing": DATABASE, "lock": BAD, "commit": WARNING, "client": NEUTRAL}

# Grafana's names for units.
SECONDS = "s"
CLOCK = "dthms"  # 00:07:00
REQUESTS_PER_SECOND = "reqps"
PER_SECOND = "suffix:/s"
SHARE = "percentunit"
COUNT = "locale"
NUMBER = "short"
RATIO = "suffix:\N{MULTIPLICATION SIGN}"
BYTES = "bytes"
CORES = "suffix:cores"
TIME = "dateTimeAsIso"
TEXT = "string"

Property = models.DynamicConfigValue
# A value, the text in its place, and the text's colour.
Word = tuple[float, str, str]

PASSED_OR_FAILED: list[Word] = [(1, "✓ passed", GOOD), (0, "✗ failed", BAD)]
TONES: dict[Tone, str] = {"good": GOOD, "bad": BAD, "warning": WARNING, "neutral": NEUTRAL}
VERDICTS: list[Word] = [
    *(
        (VERDICT_CODES[outcome], verdict_text(*outcome), TONES[NAMES[outcome[0]].tone])
        for outcome in OUTCOMES
    ),
    (VERDICT_CODES[UNKNOWN_RUN], "no data", NEUTRAL),
]

# Write a cell in the colour of its value.
COLOURED_TEXT = Property(id_val="custom.cellOptions", value={"type": "color-text"})
WRAPPED = Property(id_val="custom.wrapText", value=True)
# Leave a cell without a value empty, as links need it.
EMPTY = Property(id_val="noValue", value="")
LEFT = Property(id_val="custom.align", value="left")
RIGHT = Property(id_val="custom.align", value="right")
# Hide a column that only links use.
HIDDEN = Property(id_val="custom.hideFrom.viz", value=True)


def fixed(colour: str) -> Property:
    """Use this colour for a series, or a value, whatever its value."""
    return Property(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def unit(name: str) -> Property:
    return Property(id_val="unit", value=name)


def width(pixels: int) -> Property:
    return Property(id_val="custom.width", value=pixels)


def axis_label(text: str) -> Property:
    return Property(id_val="custom.axisLabel", value=text)


def min_width(pixels: int) -> Property:
    return Property(id_val="custom.minWidth", value=pixels)


def decimals(count: int) -> Property:
    return Property(id_val="decimals", value=count)


def css(colour: str) -> str:
    """Write what a cell takes from another one that styles it."""
    return json.dumps({"color": colour})


def styled_by(title: str) -> Property:
    """Style a cell as another column of its row says."""
    return Property(id_val="custom.styleField", value=title)


def link(title: str, url: str) -> Property:
    """Link a cell to a URL, which may use the row's other fields."""
    return Property(id_val="links", value=[{"title": title, "url": url, "targetBlank": False}])


def steps(*above: tuple[float, str], below: str = GOOD) -> ThresholdsConfig:
    """Colour a value by the highest step that it reaches."""
    from_bottom = ((None, below), *above)
    return ThresholdsConfig().steps([models.Threshold(*step) for step in from_bottom])


def limit(value: float, below: str = GOOD) -> Property:
    """Colour a value as bad from a limit on."""
    return Property(id_val="thresholds", value=steps((value, BAD), below=below).build())


def mappings(words: Sequence[Word]) -> list[models.ValueMapping]:
    """Show words in place of a panel's values."""
    return [
        models.ValueMap({f"{value:g}": models.ValueMappingResult(text=text, color=colour, index=i)})
        for i, (value, text, colour) in enumerate(words)
    ]


def without_value(text: str) -> models.ValueMapping:
    """Show a text in a neutral colour where there is no value."""
    result = models.ValueMappingResult(text=text, color=NEUTRAL)
    options = models.DashboardSpecialValueMapOptions(
        match=models.SpecialValueMatch.NULL_AND_NAN, result=result
    )
    return models.SpecialValueMap(options=options)


def texts(texts: Mapping[str, str]) -> Property:
    """Show other texts in place of a cell's own."""
    results = {
        text: models.ValueMappingResult(text=shown, index=i)
        for i, (text, shown) in enumerate(texts.items())
    }
    return Property(id_val="mappings", value=[models.ValueMap(results)])


def only_above_one() -> Property:
    """Show a dash in place of a ratio below 1."""
    options = models.DashboardRangeMapOptions(
        from_val=0, to=1 - 1e-9, result=models.ValueMappingResult(text="-", index=0)
    )
    return Property(id_val="mappings", value=[models.RangeMap(options=options)])


def any_text(shown: str) -> Property:
    """Show a text in place of whatever a cell has."""
    result = models.ValueMappingResult(text=shown)
    options = models.DashboardRegexMapOptions(pattern=".+", result=result)
    return Property(id_val="mappings", value=[models.RegexMap(options=options)])


def words(words: Sequence[Word]) -> list[Property]:
    """Show coloured words in place of a cell's values."""
    return [Property(id_val="mappings", value=mappings(words)), COLOURED_TEXT]
