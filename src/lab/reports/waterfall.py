"""Print one trace as a waterfall in the terminal."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from lab.clients.spans import Span
from lab.console import milliseconds, plain

# The others follow in alphabetical order.
FIRST_ATTRIBUTES = (
    "http.response.status_code",
    "error.type",
    "otel.status_description",
    "db.query.text",
    "k6.test_run_id",
    "k6.scenario",
)
# These repeat the span's name, or are the same in every trace.
HIDDEN_ATTRIBUTES = (
    "clinic.operation",
    "db.query.summary",
    "db.system",
    "k6.blocked_ms",
    "k6.connecting_ms",
    "k6.receiving_ms",
    "k6.sending_ms",
    "k6.waiting_ms",
    "http.request.method",
    "http.route",
    "network.",
    "otel.",
    "peer.service",
    "server.",
    "url.scheme",
    "url.template",
    "user_agent.",
)
COLOURS = {"client": "blue", "server": "green", "database": "cyan"}
MAX_SPANS = 200
MAX_DEPTH = 10
NAME_SHARE = 0.42
DURATION_WIDTH = 14
MIN_BAR_WIDTH = 10


def show(console: Console, trace_id: str, spans: list[Span]) -> None:
    """Print the spans of a trace as a tree, with their bars on one time axis."""
    start, seconds = time_axis(spans)
    failed = sum(span.error for span in spans)
    console.print(
        Text.assemble(
            (f"Trace {plain(trace_id)}", "bold"),
            f"  {milliseconds(seconds)} ms, {len(spans):,} span{'s' * (len(spans) != 1)}",
            (f", {failed:,} with an error" if failed else "", "red"),
        )
    )
    name_width = int(console.width * NAME_SHARE)
    bar_width = max(MIN_BAR_WIDTH, console.width - name_width - DURATION_WIDTH)
    axis = f"{'':{name_width}}0{milliseconds(seconds) + ' ms':>{bar_width - 1}}"
    console.print(Text(axis, style="dim"))
    parents = {span.id: span for span in spans}
    for number, (depth, span) in enumerate(in_tree_order(spans)):
        if number == MAX_SPANS:
            console.print(Text(f"… and {len(spans) - MAX_SPANS:,} more spans"))
            break
        line = _name(span, title(span, spans), depth, name_width)
        colour = "red" if span.error else COLOURS[side(span)]
        line.append(_bar(span.start - start, span.duration, seconds, bar_width), style=colour)
        line.append(f"{milliseconds(span.duration):>10} ms")
        console.print(line, no_wrap=True, overflow="crop")
        inherited = parents[span.parent].attributes if span.parent in parents else {}
        indent = "  " * min(depth + 1, MAX_DEPTH)
        if timings := _timings(span):
            console.print(Text(f"{indent}{plain(timings)}", style="dim"))
        for key, value in all_attributes(span):
            hidden = key not in FIRST_ATTRIBUTES and key.startswith(HIDDEN_ATTRIBUTES)
            if not hidden and inherited.get(key) != value:
                console.print(Text(f"{indent}{plain(key)} = {plain(value)}", style="dim"))


def _timings(span: Span) -> str:
    """List what k6 measured of a request in one line."""
    names = ("blocked", "connecting", "sending", "waiting", "receiving")
    values = {name: span.attributes.get(f"k6.{name}_ms") for name in names}
    parts = [
        f"{name} {value:.2f}" for name, value in values.items() if isinstance(value, float | int)
    ]
    return f"{', '.join(parts)} ms" if parts else ""


def side(span: Span) -> str:
    """Tell on which side of a request a span is: client (k6), server or database."""
    if span.service == "k6":
        return "client"
    return "database" if span.kind == "client" else "server"


def title(span: Span, spans: list[Span]) -> str:
    """Name a span, and the program that it is of where that is not its parent's."""
    program = _program(span)
    parents = (other for other in spans if other.id == span.parent)
    return span.name if program in map(_program, parents) else f"{program}: {span.name}"


def _program(span: Span) -> str:
    if side(span) == "database":
        return str(span.attributes.get("db.system.name", "database"))
    return span.service


def _name(span: Span, name: str, depth: int, width: int) -> Text:
    mark, style = ("✗ ", "red") if span.error else ("", "")
    line = Text(f"{'  ' * min(depth, MAX_DEPTH)}{mark}{plain(name, limit=width * 2)}", style=style)
    line.truncate(width - 1, overflow="ellipsis", pad=True)
    return line.append(" ")


def _bar(offset: float, duration: float, total: float, width: int) -> str:
    if total <= 0:
        return "█".ljust(width)
    first = min(width - 1, max(0, int(offset / total * width)))
    length = min(width - first, max(1, round(duration / total * width)))
    return (" " * first + "█" * length).ljust(width)


def time_axis(spans: list[Span]) -> tuple[float, float]:
    """Return when a trace starts, and how many seconds its spans cover."""
    start = min((span.start for span in spans), default=0.0)
    return start, max((span.start + span.duration for span in spans), default=0.0) - start


def all_attributes(span: Span) -> Iterator[tuple[str, object]]:
    """Yield a span's attributes, the most useful first."""
    first = [key for key in FIRST_ATTRIBUTES if key in span.attributes]
    others = sorted(span.attributes.keys() - set(first))
    return ((key, span.attributes[key]) for key in [*first, *others])


def in_tree_order(spans: list[Span]) -> Iterator[tuple[int, Span]]:
    """Yield each span once with its depth, below its parent if that is stored."""
    ids = {span.id for span in spans}
    children: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start):
        children.setdefault(span.parent if span.parent in ids else "", []).append(span)
    stack = [(0, span) for span in reversed(children.pop("", []))]
    while stack or children:
        if not stack:  # only spans that are each other's parents are left
            stack = [(0, span) for span in children.pop(next(iter(children)))]
        depth, span = stack.pop()
        yield depth, span
        stack += [(depth + 1, child) for child in reversed(children.pop(span.id, []))]
