"""A run as Markdown, for the summary of a pipeline's job."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from lab.console import milliseconds, plain
from lab.findings.limits import Limit, find_limits
from lab.findings.names import PARTS, VERDICTS, verdict_text
from lab.findings.summary import Findings
from lab.reports import resource_text, sentences
from lab.reports.bottleneck_text import shown_parts
from lab.reports.failure_text import reason, sqlstate
from lab.runs.record import OperationStats, Record

MAX_TRACES = 5
# Characters that Markdown or a table reads, and `@`, which would notify somebody.
SPECIAL = re.compile(r"[\\`*_\[\]<>#|~$&@]")


def render(record: Record, findings: Findings) -> str:
    """Return what the terminal's report says, as GitHub Flavored Markdown."""
    return "\n\n".join(filter(None, _blocks(record, findings))) + "\n"


def _blocks(record: Record, findings: Findings) -> Iterable[str]:
    began = datetime.fromtimestamp(record.period.started, UTC)
    yield f"## {escaped(record.name or record.run_id)}: {_verdict(record)}"
    identity = f" ({escaped(record.run_id)})" if record.name else ""
    facts = [f"{began:%Y-%m-%d %H:%M:%S} UTC{identity}", f"{record.period.seconds:,.1f} s"]
    facts += [escaped(it) for it in (record.profile, record.journey) if it]
    facts += [f"{escaped(name)}={escaped(value)}" for name, value in record.tags.items()]
    yield ", ".join(facts) + (f"  \nNote: {escaped(record.note)}" if record.note else "")
    if not record.operations:
        yield "The run sent no requests."
        return
    texts = [sentence.text for sentence in sentences.sentences(record, findings)]
    texts.append(sentences.completeness_text(record.completeness, part=bool(record.part)))
    yield "\n".join(f"- {escaped(text)}" for text in (*texts, *record.missing))
    rows = [*record.operations, record.total]
    headings = ("Requests", "Rate req/s", "Client p95 ms", "Server p95 ms", "Database p95 ms")
    yield table(("Operation", *headings, "Failed %"), map(_numbers, rows))
    if record.total.time_shares:
        yield _time_parts(rows)
    if record.thresholds:
        limits = find_limits(record)
        yield table(("Threshold", "Reached", "Result"), map(_threshold, limits))
    if record.errors or record.database_errors:
        yield table(("Errors", "Count", "Operation", "Reason"), _errors(record))
    if record.slowest_traces:
        yield table(("Slowest traces", "ms", "Status", "Operation"), _traces(record))
    yield "\n".join(f"- {escaped(text)}" for text in resource_text.texts(record))


def _verdict(record: Record) -> str:
    text = verdict_text(record.verdict, record.verdict_reason)
    return escaped(sentences.part_text(record.part) if record.part else text)


def _numbers(stats: OperationStats) -> tuple[str, ...]:
    times = (stats.client_p95, stats.server_p95, stats.database_p95)
    return (
        code(stats.operation),
        f"{stats.requests:,}",
        f"{stats.rate:,.1f}",
        *map(milliseconds, times),
        f"{stats.failed_share * 100:.2f}",
    )


def _time_parts(rows: Sequence[OperationStats]) -> str:
    parts = shown_parts(rows)
    cells = (
        (
            code(stats.operation),
            milliseconds(stats.client_mean),
            *(
                milliseconds((stats.client_mean or 0.0) * stats.time_shares[part])
                if part in stats.time_shares
                else "-"
                for part in parts
            ),
        )
        for stats in rows
    )
    headings = (PARTS[part][0] for part in parts)
    return table(("Where the time goes, ms of the mean request", "All", *headings), cells)


def _threshold(limit: Limit) -> tuple[str, ...]:
    condition = sentences.condition_text(limit)
    result = VERDICTS["passed" if limit.met else "failed"].mark
    return f"{code(limit.subject)} {escaped(condition)}", sentences.reached_text(limit), result


def _errors(record: Record) -> Iterable[tuple[str, ...]]:
    for error in record.errors:
        yield error.kind, f"{error.count:,}", code(error.operation), escaped(reason(error))
    for refused in record.database_errors:
        text = escaped(sqlstate(refused.sqlstate))
        yield "database", f"{refused.count:,}", code(refused.operation), text


def _traces(record: Record) -> Iterable[tuple[str, ...]]:
    for trace in record.slowest_traces[:MAX_TRACES]:
        status = "-" if trace.status is None else str(trace.status)
        yield code(trace.trace_id), milliseconds(trace.duration), status, code(trace.operation)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; columns whose cells are numbers are aligned to the right."""
    cells = [list(row) for row in rows]
    numeric = [all(re.match(r"[\d.-]", row[i]) for row in cells) for i in range(len(headings))]
    rule = ["--:" if right else "---" for right in numeric]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *cells))


def code(text: str) -> str:
    """Write a name as code; its characters stay as they are, but must not end the cell."""
    text = plain(text).replace("`", "'").replace("|", r"\|")
    return f"`{text}`"


def escaped(text: str) -> str:
    """Write text so that nothing in it is markup, as an entity where a backslash is not enough."""
    return SPECIAL.sub(lambda it: f"&#{ord(it[0])};", plain(text, sentences.MAX_SENTENCE))
