"""What a report publishes to Prometheus: its sentences in their order, and where its page is."""

import time

import httpx
import pytest

from lab.clients.prometheus import Prometheus
from lab.findings.summary import find
from lab.promql import published
from lab.promql.selectors import RETENTION, RunSelector
from lab.reports.publication import findings_labels
from tests.support.factories import make_full_record
from tests.support.fake_series import Feed, run_id
from tests.support.programs import NOWHERE, ask

FAILED = {("http_req_duration{name:GET /owners}", "p(95)<20"): False}
REACHED = {("http_req_duration{name:GET /owners}", "p(95)<20"): 30.2}


def newest(prometheus: Prometheus, metric: str, run: str) -> list[dict[str, str]]:
    query = published.newest(metric, RunSelector(run, RETENTION))
    return [labels for labels, _ in prometheus.series(query, time.time() + 1)]


@pytest.mark.stack
def test_a_report_is_published_and_its_page_is_served(prometheus: Prometheus) -> None:
    feed = Feed(run_id("smoke"), time.time() - 100)
    feed.requests("GET /owners", 100)
    feed.client_seconds("GET /owners", {-6: 100})
    feed.marks("smoke", thresholds=FAILED, reached=REACHED)
    feed.send(prometheus)

    answers = [ask(prometheus.url, NOWHERE, "report", feed.run) for _ in range(2)]

    page = f"{prometheus.url}/user/{feed.run}.html"
    assert f"In a browser: {page}" in answers[1].stdout
    assert "✗ Failed: 1 of 1 threshold" in httpx.get(page).text
    findings = {
        labels["position"]: labels["text"]
        for labels in newest(prometheus, published.FINDING, feed.run)
    }
    texts = [findings[str(position)] for position in range(1, len(findings) + 1)]
    assert texts[:2] == ["✗ Failed: 1 of 1 threshold.", "✗ GET /owners p95 < 20 ms: 30.2 ms"]
    printed = "".join(answers[1].stdout.split())
    assert [text for text in texts if "".join(text.split()) not in printed] == []
    [info] = newest(prometheus, published.INFO, feed.run)
    assert info["report"] == page


@pytest.mark.stack
def test_the_value_that_k6_compared_is_read(prometheus: Prometheus) -> None:
    feed = Feed(run_id("smoke"), time.time() - 100)
    feed.requests("GET /owners", 100)
    feed.marks("smoke", thresholds=FAILED, reached=REACHED)
    feed.send(prometheus)

    answer = ask(prometheus.url, NOWHERE, "report", feed.run)

    assert "✗ GET /owners p95 < 20 ms: 30.2 ms" in answer.stdout


def test_findings_have_the_order_of_the_report() -> None:
    record = make_full_record()
    labels = findings_labels(record, find(record))

    assert [one["position"] for one in labels] == [str(i + 1) for i in range(len(labels))]
    assert [labels[0]["subject"], labels[1]["subject"]] == ["verdict", "threshold"]
    assert labels[-1] == {
        "testid": record.run_id,
        "position": str(len(labels)),
        "subject": "missing",
        "text": record.missing[-1],
    }
