"""Known series of a run, and the verdict in words: of its record, the list of runs and Grafana."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.clients.endpoint import Endpoint
from lab.clients.prometheus import Prometheus
from lab.findings.names import OUTCOMES, verdict_text
from lab.promql.load_run import UNKNOWN_RUN, VERDICT_CODES
from lab.runs.reader import read_metrics
from lab.runs.run_list import list_runs
from tests.support.fake_series import Feed, run_id
from tests.support.panels import Address, dashboards, queries

PASSED = {("http_req_duration", "p(95)<200"): True}
FAILED = {("http_req_duration", "p(95)<200"): False}
LONG_AGO = 200.0
NONE = "– no verdict"  # noqa: RUF001 - a dash
# The addresses of a run's verdict, and of that of each run in the list.
OF_RUN: Address = ("Load test", "Verdict", "")
OF_LIST: Address = ("Runs", "Runs", "Verdict")


@dataclass(frozen=True)
class Case:
    """A run of 20 s, how long ago it pushed last, and what k6 recorded about it."""

    text: str
    age: float = LONG_AGO
    marks: dict[str, Any] | None = None


CASES = {
    "passed": Case("✓ passed", marks={"thresholds": PASSED}),
    "passed just now": Case("✓ passed", age=1, marks={"thresholds": PASSED}),
    "failed": Case("✗ failed", marks={"thresholds": FAILED}),
    "failed early": Case("✗ failed", marks={"thresholds": FAILED, "planned": 60.0}),
    "interrupted": Case(
        "■ aborted: it was interrupted", marks={"thresholds": PASSED, "planned": 60.0}
    ),
    "interrupted without thresholds": Case(
        "■ aborted: it was interrupted", marks={"thresholds": {}, "planned": 60.0}
    ),
    "killed": Case("■ aborted: k6 did not report its end", marks={"ended": False}),
    "without thresholds": Case(f"{NONE}: k6 ran without thresholds", marks={"thresholds": {}}),
    "verdict not written": Case(f"{NONE}: k6 did not report one", marks={}),
    "another generator": Case(f"{NONE}: another script made it"),
    "running": Case("… running", age=0, marks={"ended": False}),
    "another generator, running": Case("… running", age=0),
}


def words(uid: str, title: str, column: str = "") -> dict[float, str]:
    """Return the words that Grafana shows in place of a panel's or column's values."""
    [panel] = [panel for panel in dashboards()[uid]["panels"] if panel["title"] == title]
    settings = panel["fieldConfig"]
    mappings = settings["defaults"].get("mappings", [])
    for override in settings["overrides"]:
        if override["matcher"]["options"] == column:
            mappings = next(p["value"] for p in override["properties"] if p["id"] == "mappings")
    return {
        float(code): word["text"]
        for each in mappings
        if each["type"] == "value"
        for code, word in each["options"].items()
    }


def feed(prometheus: Prometheus, case: Case) -> str:
    series = Feed(run_id("smoke"), time.time() - case.age)
    series.requests("GET /owners", 100)
    if case.marks is not None:
        series.marks("smoke", **case.marks)
    series.send(prometheus)
    return series.run


@pytest.mark.stack
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_verdict_has_the_same_words_everywhere(
    prometheus: Prometheus, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    run = feed(prometheus, case)
    now = time.time()

    record = read_metrics(prometheus, run)
    [listed] = [one for one in list_runs(Endpoint(prometheus.url)).runs if one.run_id == run]
    chosen = {"testid": run, "scenario": ".+"}
    of_run = prometheus.number(queries()[OF_RUN].filled(**chosen), now)
    of_list = prometheus.by_label(queries()[OF_LIST].text, "testid", now)[run]

    assert of_run is not None
    assert {
        "record": verdict_text(record.verdict, record.verdict_reason),
        "list": verdict_text(listed.verdict, listed.verdict_reason),
        "Load test": words("clinic-load-test", "Verdict")[of_run],
        "Runs": words("clinic-runs", "Runs", "Verdict")[of_list],
    } == dict.fromkeys(("record", "list", "Load test", "Runs"), case.text)


def test_every_verdict_has_a_code() -> None:
    assert {*OUTCOMES, UNKNOWN_RUN} == set(VERDICT_CODES)
    assert len(set(VERDICT_CODES.values())) == len(VERDICT_CODES)
