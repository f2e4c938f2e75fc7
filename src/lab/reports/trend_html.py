"""Write the trend of runs as one HTML file that needs nothing else."""

from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from lab.findings.names import VERDICTS
from lab.findings.trend import Trend
from lab.reports import charts
from lab.reports.page import template
from lab.reports.trend_terminal import SIGNIFICANCE, difference_text, remarks, title
from lab.runs.record import result_file, write_file
from lab.runs.run_info import tags_text


def write(trend: Trend) -> Path:
    """Write a trend as HTML and return its path."""
    name = f"trend-{trend.profile or 'none'}-{trend.journey or 'none'}"
    return write_file(result_file(name, ".html"), render(trend).encode())


def render(trend: Trend) -> str:
    return template("trend.html").render(
        trend=trend,
        title=title(trend),
        remarks=remarks(trend),
        charts=_charts(trend),
        significance=SIGNIFICANCE,
        verdicts=VERDICTS,
        utc=_utc,
        difference=difference_text,
        tags_text=tags_text,
        pages={
            run.run_id: page.name
            for run in trend.runs
            if (page := result_file(run.run_id, ".html")).exists()
        },
    )


def _charts(trend: Trend) -> list[tuple[str, str, Markup]]:
    """Draw what is followed from run to run: title, colour, and picture."""
    names = [f"{_utc(run.started):%m-%d %H:%M}" for run in trend.runs]
    base = trend.baseline
    p95, rate, failed = (
        (base.client_p95, base.rate, base.failed_share) if base else (None, None, None)
    )

    def chart(
        title: str, colour: str, values: list[float | None], baseline: float | None, scale: int = 1
    ) -> tuple[str, str, Markup]:
        scaled = [None if value is None else value * scale for value in values]
        level = None if baseline is None else baseline * scale
        line = charts.Line(title, colour, scaled)
        return title, colour, charts.by_run(title, names=names, line=line, baseline=level)

    return [
        chart("Client p95, ms", "client", trend.p95, p95, 1000),
        chart("Throughput, req/s", "load", trend.rate, rate),
        chart("Failed, %", "failure", trend.failed_share, failed, 100),
    ]


def _utc(started: float | None) -> datetime:
    return datetime.fromtimestamp(started or 0.0, UTC)
