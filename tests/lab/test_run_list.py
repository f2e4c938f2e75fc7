"""The runs there are: of Prometheus, and of saved files when it has forgotten them."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.clients.prometheus import Prometheus
from tests.support.factories import make_comparable as record
from tests.support.fake_series import Feed, run_id
from tests.support.programs import NOWHERE, ask

stack = pytest.mark.stack
A, B = "20261123-100000-load", "20261123-110000-load"


def listed(prometheus_url: str, folder: Path, *words: str) -> Any:
    return ask(
        *(prometheus_url, NOWHERE, "runs", *words), CLINIC_RESULTS_DIR=str(folder), COLUMNS="140"
    )


def line_of(run: str, said: str) -> list[str]:
    return next(line.split() for line in said.splitlines() if run in line.split())


def feed(prometheus: Prometheus, *, ago: float = 200, **marks: Any) -> str:
    """Feed a run of 20 s with 100 requests, five of them failed, of 30.2 ms at the 95th."""
    fed = Feed(run_id("smoke"), time.time() - ago)
    fed.requests("GET /owners", 95)
    fed.requests("GET /owners", 5, 500)
    fed.client_seconds("GET /owners", {-6: 100})
    if marks:
        fed.marks("smoke", **marks)
    fed.send(prometheus)
    return fed.run


PASSED = {("http_req_duration", "p(95)<200"): True}
CROSSED = {("http_req_failed", "rate<0.01"): False}


@stack
def test_each_run_has_a_line_with_its_verdict(prometheus: Prometheus, tmp_path: Path) -> None:
    passed = feed(prometheus, thresholds=PASSED)
    crossed = feed(prometheus, thresholds=CROSSED)
    broken_off = feed(prometheus, thresholds=PASSED, planned=60.0)
    killed = feed(prometheus, ended=False)
    still_on = feed(prometheus, ago=0, ended=False)
    by_hand = feed(prometheus)

    said = listed(prometheus.url, tmp_path).stdout

    numbers = ["100", "30.2", "5.00"]
    assert line_of(passed, said)[2:] == [passed, "smoke", "book", "20", "s", *numbers, "passed"]
    assert line_of(crossed, said)[-1] == "failed"
    assert line_of(broken_off, said)[-2:] == ["broken", "off"]
    assert line_of(killed, said)[5:] == ["-", *numbers, "broken", "off"]
    assert line_of(still_on, said)[-2:] == ["still", "on"]
    assert line_of(by_hand, said)[-8:] == ["-", "-", "-", *numbers, "not", "judged"]


@stack
def test_a_run_that_prometheus_forgot_is_read_from_its_file(
    prometheus: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    record(A).save()
    known = feed(prometheus, thresholds=PASSED)
    msgspec.structs.replace(record(B), run=known).save()

    said = listed(prometheus.url, tmp_path).stdout

    assert line_of(A, said)[2:] == [
        *(A, "*", "load", "book", "1", "min", "2,000", "36.0", "0.00", "passed")
    ]
    assert "* Prometheus does not hold it: read from its saved file." in said
    assert line_of(known, said)[2:5] == [known, "smoke", "book"]


def test_without_prometheus_the_saved_runs_are_listed_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path))
    record(A).save()
    record(B).save()
    every, last = listed(NOWHERE, tmp_path), listed(NOWHERE, tmp_path, "--last", "1")

    assert every.returncode == last.returncode == 0
    assert every.stdout.index(B) < every.stdout.index(A)
    assert "Prometheus does not answer" in every.stdout
    assert "Only saved runs are listed." in every.stdout
    assert B in last.stdout
    assert A not in last.stdout
    assert "1 of 2 runs." in last.stdout


def test_where_there_is_no_run_that_is_said(tmp_path: Path) -> None:
    answer = listed(NOWHERE, tmp_path)

    assert answer.returncode == 0
    assert "Only saved runs are listed." in answer.stdout
    assert "There is none." in answer.stdout
