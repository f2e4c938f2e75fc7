"""What looks the same on every page: colours, and the words for values."""

from grafana_foundation_sdk.models.dashboard import (
    DashboardRangeMapOptions,
    DynamicConfigValue,
    RangeMap,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

from observability import slo

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
LINES = {
    "p50": NEUTRAL,
    "p95": SERVER,
    "p99": BAD,
    "organic": CLIENT,
    "load runs": LOAD,
    "503 answered": BAD,
    "in use": DATABASE,
    "allowed": NEUTRAL,
    "resident": SERVER,
    "made": NEUTRAL,
    "sent": SERVER,
    "stored": DATABASE,
    "dropped": BAD,
    "given up": WARNING,
    "failed": BAD,
    "waiting": SERVER,
    "limit": NEUTRAL,
    "clinic": SERVER,
    "span metrics": DATABASE,
    "k6": CLIENT,
    "free": NEUTRAL,
    "Prometheus": SERVER,
    "Tempo": DATABASE,
    "live traces": LOAD,
}

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
TIME = "dateTimeAsIso"
TEXT = "string"

Property = DynamicConfigValue


def fixed(colour: str) -> Property:
    """Draw a series, or write a value, in this colour whatever its value."""
    return Property(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def coloured_text() -> Property:
    """Write a cell in the colour that its value has by thresholds or words."""
    return Property(id_val="custom.cellOptions", value={"type": "color-text"})


def limits(*steps: tuple[float, str], below: str = GOOD) -> Property:
    """Colour a value by the last of the steps that it has reached."""
    from_bottom = [{"value": None, "color": below}] + [
        {"value": value, "color": colour} for value, colour in steps
    ]
    return Property(id_val="thresholds", value={"mode": "absolute", "steps": from_bottom})


Word = tuple[float | tuple[float | None, float | None], str, str]


def words(*said: Word) -> Property:
    """Show words in place of values: each a value, or a range of them, its word and its colour."""
    return Property(id_val="mappings", value=mappings(*said))


def mappings(*said: Word) -> list[ValueMapping]:
    """Make the same for a whole panel."""
    made: list[ValueMapping] = []
    for index, (value, text, colour) in enumerate(said):
        result = ValueMappingResult(text=text, color=colour, index=index)
        if isinstance(value, tuple):
            low, high = value
            made.append(
                RangeMap(options=DashboardRangeMapOptions(from_val=low, to=high, result=result))
            )
        else:
            made.append(ValueMap(options={f"{value:g}": result}))
    return made
