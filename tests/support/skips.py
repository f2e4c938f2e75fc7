"""The skips that CI accepts: any other skipped test fails a CI run."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

ALLOWED = Path(__file__).parents[1] / "allowed_skips.txt"


def allowed() -> list[str]:
    """Read the accepted reasons, one per line; `#` starts a comment."""
    lines = (line.strip() for line in ALLOWED.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def unexpected(reports: Iterable[pytest.TestReport]) -> list[str]:
    """List the skipped tests whose reason is not accepted."""
    found, accepted = [], allowed()
    for report in reports:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        reason = reason.removeprefix("Skipped: ")
        if reason not in accepted:
            found.append(f"{report.nodeid}: {reason}")
    return found


class SkipGuard:
    """Fails a run in CI if a test was skipped for a reason that is not accepted."""

    def __init__(self) -> None:
        self.skipped: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if unexpected(self.skipped) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if found := unexpected(self.skipped):
            terminalreporter.section("skips that tests/allowed_skips.txt does not list", red=True)
            for line in found:
                terminalreporter.line(line)


def register(config: pytest.Config) -> None:
    """Watch the skips of this run if it is CI's."""
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipGuard())
