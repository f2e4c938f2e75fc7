"""One trace as a waterfall in the terminal."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from lab.clients.spans import Span
from lab.console import milliseconds, plain

# What a reader looks for first; the others follow by name.
MAIN_ATTRIBUTES = (
    "http.response.status_code",
    "error.type",
    "otel.status_description",
    "db.query.text",
    "k6.test_run_id",
    "k6.scenario",
)
# Said by the span's own line, or the same in each trace.
LEFT_OUT = (
    "clinic.operation",
    "db.query.summary",
    "db.system",
    "http.request.method",
    "http.route",
    "network.",
    "otel.",
    "peer.service",
    "server.",
    "url.scheme",
    "user_agent.",
)
MOST_SPANS = 200
DEEPEST = 10
NAME_SHARE = 0.42
LEAST_BAR = 10


def show(console: Console, trace_id: str, spans: list[Span]) -> None:
    """Print the spans of a trace as a tree beside their bars on one axis of time."""
    began = min(span.start for span in spans)
    whole = max(span.start + span.duration for span in spans) - began
    failed = sum(span.error for span in spans)
    console.print(
        Text.assemble(
            (f"Trace {plain(trace_id)}", "bold"),
            f"  {milliseconds(whole)} ms, {len(spans):,} span{'s' * (len(spans) != 1)}",
            (f", {failed:,} with an error" if failed else "", "red"),
        )
    )
    names = int(console.width * NAME_SHARE)
    bars = max(LEAST_BAR, console.width - names - 14)
    console.print(Text(f"{'':{names}}0{milliseconds(whole) + ' ms':>{bars - 1}}", style="dim"))
    parents = {span.id: span for span in spans}
    for number, (depth, span) in enumerate(in_tree_order(spans)):
        if number == MOST_SPANS:
            console.print(Text(f"… and {len(spans) - MOST_SPANS:,} more spans"))
            break
        _show_span(console, span, depth, (began, whole), (names, bars))
        inherited = parents[span.parent].attributes if span.parent in parents else {}
        for key, value in _attributes(span):
            if inherited.get(key) != value:
                text = f"{'  ' * min(depth + 1, DEEPEST)}{plain(key)} = {plain(value)}"
                console.print(Text(text, style="dim"))


def _show_span(
    console: Console,
    span: Span,
    depth: int,
    axis: tuple[float, float],
    widths: tuple[int, int],
) -> None:
    names, bars = widths
    began, whole = axis
    indent = "  " * min(depth, DEEPEST)
    mark = "✗ " if span.error else ""
    style = "red" if span.error else ("cyan" if span.kind == "client" else "green")
    label = plain(f"{span.service}: {span.name}" if depth == 0 else span.name, limit=names * 2)
    line = Text(f"{indent}{mark}{label}", style="red" if span.error else "")
    line.truncate(names - 1, overflow="ellipsis", pad=True)
    line.append(" ")
    line.append(_bar((span.start - began), span.duration, whole, bars), style=style)
    line.append(f"{milliseconds(span.duration):>10} ms")
    console.print(line, no_wrap=True, overflow="crop")


def _bar(offset: float, duration: float, whole: float, width: int) -> str:
    if whole <= 0:
        return "█".ljust(width)
    first = min(width - 1, max(0, int(offset / whole * width)))
    length = min(width - first, max(1, round(duration / whole * width)))
    return (" " * first + "█" * length).ljust(width)


def all_attributes(span: Span) -> Iterator[tuple[str, object]]:
    """Give what a span says, first what a reader looks for."""
    for key in MAIN_ATTRIBUTES:
        if key in span.attributes:
            yield key, span.attributes[key]
    for key in sorted(span.attributes):
        if key not in MAIN_ATTRIBUTES:
            yield key, span.attributes[key]


def _attributes(span: Span) -> Iterator[tuple[str, object]]:
    for key, value in all_attributes(span):
        if key in MAIN_ATTRIBUTES or not key.startswith(LEFT_OUT):
            yield key, value


def in_tree_order(spans: list[Span]) -> Iterator[tuple[int, Span]]:
    """Give each span once, below its parent; one whose parent is not stored is a root."""
    ids = {span.id for span in spans}
    children: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start):
        children.setdefault(span.parent if span.parent in ids else "", []).append(span)
    waiting = [(0, span) for span in reversed(children.pop("", []))]
    while waiting or children:
        if not waiting:  # spans that are each other's parents
            waiting = [(0, span) for span in children.pop(next(iter(children)))]
        depth, span = waiting.pop()
        yield depth, span
        waiting += [(depth + 1, child) for child in reversed(children.pop(span.id, []))]
