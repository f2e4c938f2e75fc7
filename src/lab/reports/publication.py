"""Publish what a report says to Prometheus, so that Grafana shows the same sentences."""

from lab.clients import publisher
from lab.console import plain
from lab.findings.summary import Findings
from lab.promql import published
from lab.reports.sentences import MAX_SENTENCE, sentences
from lab.runs import report_page, run_info
from lab.runs.record import Record
from lab.stack.config import StackConfig


def publish(config: StackConfig, record: Record, findings: Findings) -> str:
    """Publish a run's sentences and what is known of it; return the address of its report page.

    The address is empty where Prometheus does not serve the page.
    """
    address = report_page.address(config, record.run_id)
    series = {
        published.FINDING: findings_labels(record, findings),
        published.INFO: [run_info.labels(record, address)],
    }
    publisher.publish(config.published_endpoint, series)
    return address


def findings_labels(record: Record, findings: Findings) -> list[dict[str, str]]:
    """Return the labels of each sentence, in the order of the report."""
    found = [(one.subject, one.text) for one in sentences(record, findings)]
    missing = [("missing", text) for text in record.missing]
    return [
        {
            "testid": record.run_id,
            "position": str(position),
            "subject": subject,
            "text": plain(text, MAX_SENTENCE),
        }
        for position, (subject, text) in enumerate((*found, *missing), 1)
    ]
