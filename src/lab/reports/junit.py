"""The thresholds of a run as JUnit XML, which pipelines show as tests."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from lab.console import plain
from lab.errors import UserError
from lab.findings.limits import find_limits
from lab.findings.names import verdict_text
from lab.reports import sentences
from lab.runs.record import Record


def write(path: Path, record: Record) -> None:
    """Write a test for each threshold, and an error if the run has no verdict by them."""
    tree = ET.ElementTree(render(record))
    ET.indent(tree)
    try:
        tree.write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def render(record: Record) -> ET.Element:
    limits = find_limits(record) if record.thresholds else []
    failed = sum(not limit.met for limit in limits)
    judged = record.verdict in ("passed", "failed")
    began = datetime.fromtimestamp(record.period.started, UTC)
    counts = {
        "tests": str(len(limits) + (not judged)),
        "failures": str(failed),
        "errors": str(int(not judged)),
        "time": f"{record.period.seconds:.3f}",
    }
    name = plain(record.name or record.run_id)
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(
        suites, "testsuite", counts, name=name, timestamp=f"{began:%Y-%m-%dT%H:%M:%S}"
    )
    kind = ".".join(filter(None, ("k6", record.profile, record.journey)))
    for limit in limits:
        title = plain(f"{limit.subject} {sentences.condition_text(limit)}")
        test = ET.SubElement(suite, "testcase", classname=kind, name=title, time="0")
        if not limit.met:
            ET.SubElement(test, "failure", message=f"reached {sentences.reached_text(limit)}")
    if not judged:
        test = ET.SubElement(suite, "testcase", classname=kind, name="verdict", time="0")
        text = verdict_text(record.verdict, record.verdict_reason)
        ET.SubElement(test, "error", message=text)
    return suites
