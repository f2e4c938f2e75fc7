"""How numbers change from run to run: known records in, a known table and page out."""

from pathlib import Path
from typing import Any

import pytest

from lab.clients.endpoint import Endpoint
from lab.clients.spans import Period
from lab.errors import UserError
from lab.findings.trend import find
from lab.reports import trend_html
from lab.reports.trend_terminal import sparkline
from lab.runs.run_list import list_runs
from tests.support.factories import BEGAN, make_record, make_stats
from tests.support.html import Elements
from tests.support.programs import NOWHERE, ask


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save runs of load, of which the second is the baseline, and a newer one of browse."""
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    runs: list[dict[str, Any]] = [
        {"total": make_stats("All", client_p95=0.060)},
        {"total": make_stats("All", client_p95=0.040), "baseline": True, "name": "before"},
        {"total": make_stats("All", client_p95=0.050, requests=900), "tags": {"env": "qa"}},
        {"verdict": "aborted"},
        {
            "total": make_stats("All", client_p95=0.080, failed_share=0.02),
            "verdict": "failed",
            "note": "with <index>",
        },
    ]
    for number, changes in enumerate(runs):
        began = BEGAN + 600 * number
        period = Period(began, began + 60)
        make_record(run_id=f"2026112{number}-100000-load", period=period, **changes).save()
    began = BEGAN - 600
    make_record(run_id="browsed", journey="browse", period=Period(began, began + 60)).save()
    return tmp_path


def test_the_output_of_trend(saved: Path) -> None:
    answer = ask(NOWHERE, NOWHERE, "trend", CLINIC_RESULTS_DIR=str(saved))

    golden = Path(__file__).parent / "golden" / "trend.txt"
    lines = [line.rstrip() for line in answer.stdout.splitlines()]
    assert "\n".join(lines) == golden.read_text().replace("RESULTS", str(saved)).rstrip("\n")
    assert (saved / "trend-load-book.html").exists()


@pytest.mark.usefixtures("saved")
def test_a_trend_is_of_one_profile_and_journey() -> None:
    runs = list_runs(Endpoint(NOWHERE))

    assert [run.run_id for run in find(runs, "load", "browse", {}).runs] == ["browsed"]
    assert [run.run_id for run in find(runs, None, None, {"env": "qa"}).runs] == [
        "20261122-100000-load"
    ]
    assert [run.run_id for run in find(runs, None, None, {}, last=2).runs] == [
        "20261122-100000-load",
        "20261124-100000-load",
    ]
    with pytest.raises(UserError, match="No finished run matches"):
        find(runs, "soak", None, {})


@pytest.mark.usefixtures("saved")
def test_the_difference_is_that_of_the_p95_to_the_baseline() -> None:
    trend = find(list_runs(Endpoint(NOWHERE)), None, None, {}, last=2)

    assert trend.baseline
    assert trend.baseline.info.name == "before"
    assert [trend.difference(run) for run in trend.runs] == pytest.approx([0.25, 1.0])


def test_without_a_run_there_is_no_trend(tmp_path: Path) -> None:
    answer = ask(NOWHERE, NOWHERE, "trend", CLINIC_RESULTS_DIR=str(tmp_path))

    assert answer.returncode == 1
    assert "Prometheus does not answer" in answer.stderr


@pytest.mark.usefixtures("saved")
def test_the_page_has_charts_and_needs_nothing_else() -> None:
    page = Elements(trend_html.render(find(list_runs(Endpoint(NOWHERE)), None, None, {})))

    pictures = [a["aria-label"] for tag, a in page.elements if tag == "svg"]
    assert pictures == ["Client p95, ms by run", "Throughput, req/s by run", "Failed, % by run"]
    assert not [value for _, a in page.elements for name, value in a.items() if name == "src"]
    for text in ("Trend of load, book: 4 runs", "+100 %", "✗ failed", "with <index>", "env=qa"):
        assert text in page.text


def test_a_sparkline_spans_zero_to_the_highest() -> None:
    assert sparkline([0.0, 7.0, None, 3.5, 1.0]) == "▁█ ▅▂"
    assert sparkline([0.0, 0.0]) == "▁▁"
