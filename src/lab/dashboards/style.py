"""What looks the same on every page: colours, units, and how a cell shows its value."""

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import dashboard as parts

from lab import slo

# Told apart by colour-blind eyes, on a dark and on a light ground.
CLIENT = "#3d85e0"
SERVER = "#e68a00"
DATABASE = "#14a38b"
LOAD = "#8f7fd6"
GOOD = "#2fa25a"
BAD = "#e0455e"
WARNING = "#d9a400"
NEUTRAL = "#8a8f98"

# Of lines that have their name on several pages, or a meaning.
_LINES = {
    CLIENT: ("organic", "requests", "k6"),
    SERVER: ("p95", "resident", "sent", "waiting", "clinic", "Prometheus", "event loop p95"),
    DATABASE: ("in use", "stored", "span metrics", "Tempo"),
    LOAD: ("load runs", "virtual users", "live traces"),
    BAD: ("p99", "503 answered", "dropped", "failed"),
    WARNING: ("given up", "iterations not started"),
    NEUTRAL: ("p50", "allowed", "made", "limit", "free"),
}
LINES = {name: colour for colour, names in _LINES.items() for name in names}

# What writes is warm, what reads is cool.
_OPERATIONS = {
    "POST": ("#f2a541", "#d9622b", "#b5477a", "#8f5a2a"),
    "GET": ("#4aa8ff", "#22c1a8", "#6d7cff", "#9ad14b", "#b8bcc4"),
}
OPERATIONS = {
    operation: colour
    for method, colours in _OPERATIONS.items()
    for operation, colour in zip(
        (one for one in slo.OPERATIONS if one.startswith(method)), colours, strict=True
    )
}

# Grafana's names for units.
SECONDS = "s"
PER_SECOND = "reqps"
SHARE = "percentunit"
COUNT = "locale"
NUMBER = "short"
BYTES = "bytes"
CORES = "suffix:cores"
A_SECOND = "suffix:/s"
TIME = "dateTimeAsIso"
TEXT = "string"

Property = parts.DynamicConfigValue

# Write a cell in the colour that its value has by thresholds or words.
COLOURED_TEXT = Property(id_val="custom.cellOptions", value={"type": "color-text"})
WRAPPED = Property(id_val="custom.cellOptions", value={"type": "auto", "wrapText": True})
# Keep a column for links alone.
HIDDEN = Property(id_val="custom.hideFrom.viz", value=True)


def fixed(colour: str) -> Property:
    """Draw a series, or write a value, in this colour whatever its value."""
    return Property(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def unit(name: str) -> Property:
    return Property(id_val="unit", value=name)


def width(pixels: int) -> Property:
    return Property(id_val="custom.width", value=pixels)


def link(title: str, address: str) -> Property:
    """Lead from a cell to an address, which may name the row's other fields."""
    return Property(id_val="links", value=[{"title": title, "url": address, "targetBlank": False}])


def steps(*above: tuple[float, str], below: str = GOOD) -> ThresholdsConfig:
    """Colour a value by the last of the steps that it has reached."""
    from_bottom = ((None, below), *above)
    return ThresholdsConfig().steps([parts.Threshold(*step) for step in from_bottom])


def limits(*above: tuple[float, str]) -> Property:
    """Give a column such steps."""
    return Property(id_val="thresholds", value=steps(*above).build())


Word = tuple[float | tuple[float | None, float | None], str, str]


def words(*said: Word) -> Property:
    """Show words in place of values: each a value, or a range of them, its word and its colour."""
    return Property(id_val="mappings", value=mappings(*said))


def mappings(*said: Word) -> list[parts.ValueMapping]:
    """Make the same for a whole panel."""
    made: list[parts.ValueMapping] = []
    for index, (value, text, colour) in enumerate(said):
        result = parts.ValueMappingResult(text=text, color=colour, index=index)
        if isinstance(value, tuple):
            made.append(parts.RangeMap(parts.DashboardRangeMapOptions(*value, result)))
        else:
            made.append(parts.ValueMap({f"{value:g}": result}))
    return made
