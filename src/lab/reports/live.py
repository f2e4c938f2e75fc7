"""Watch a run while it lasts: in Grafana, on its report page and on k6's own dashboard.

A process of its own keeps the page current, with a low priority and for a small share of the time,
so that it disturbs neither k6 nor the report that follows; its failures are silent.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.clients import publisher
from lab.clients.grafana import find_live_dashboard
from lab.console import echo, short_path
from lab.findings import summary
from lab.promql import published
from lab.reports import page, run_html
from lab.reports.publication import findings_labels
from lab.runs import k6, report_page
from lab.runs.reader import read
from lab.runs.record import result_file, write_file
from lab.runs.start import LoadTest
from lab.stack.config import StackConfig

PERIOD = 5.0
# Prometheus answers for at most a fifth of the time.
PAUSES = 4.0
NICENESS = 10


@contextmanager
def watch(config: StackConfig, test: LoadTest, *, live: bool) -> Iterator[str]:
    """Say where a run that starts can be watched, and with `live` keep its page current.

    Give the address of the page, which is empty if there is none.
    """
    grafana = None
    if test.environment:
        grafana = find_live_dashboard(config.grafana_url, test.run_id, time.time())
    if grafana:
        echo(f"In Grafana: {grafana}")
    elif test.environment and not live:
        echo("To watch a run without Grafana, start it with --live.")
    if live and len(test.commands) == 1:
        dashboard = k6.dashboard_address(test.settings)
        echo(f"k6's own dashboard: {dashboard} (k6 does not end before it is closed)")
    if not live or not test.environment:
        yield ""
        return
    with _keep_page(test.run_id) as path:
        address = report_page.address(config, test.run_id)
        echo(f"Its report page, renewed every 5 s: {address or short_path(path)}")
        yield address


@contextmanager
def _keep_page(run_id: str) -> Iterator[Path]:
    """Write the page of a run that starts, and renew it meanwhile."""
    waiting = page.template("waiting.html").render(run_id=run_id).encode()
    path = write_file(result_file(run_id, ".html"), waiting)
    process = subprocess.Popen(  # noqa: S603 - this module
        [sys.executable, "-m", __name__, run_id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for k6
    )
    try:
        yield path
    finally:
        process.kill()
        process.wait()
        with suppress(OSError):
            if path.read_bytes() == waiting:
                path.unlink()


def renew(config: StackConfig, run_id: str) -> None:
    """Write the page of a run and publish its findings, while it is running."""
    record = read(config, run_id, lambda _: None)
    if record.verdict != "running":
        return
    findings = summary.find(record)
    run_html.write(record, findings)
    series = {published.FINDING: findings_labels(record, findings)}
    publisher.publish(config.published_endpoint, series)


def renew_until_orphaned(run_id: str) -> None:
    os.nice(NICENESS)
    config, parent = StackConfig.from_env(), os.getppid()
    while os.getppid() == parent:
        started = time.monotonic()
        with suppress(Exception):
            renew(config, run_id)
        taken = time.monotonic() - started
        time.sleep(max(PERIOD - taken, PAUSES * taken))


if __name__ == "__main__":
    renew_until_orphaned(sys.argv[1])
