"""A few planted causes on the real stack, as a sample of `just prove`."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.promql.bottleneck import Cause
from performance.prove.causes import CAUSES, NONE
from performance.prove.trial import Trial, run
from performance.stack import Stack, temporary_stack

pytestmark = pytest.mark.stack

BUSY = 0.1


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as folder, temporary_stack(Path(folder)) as stack:
        yield stack


# What tests that run meanwhile can do to a run: they use the disk, and sometimes the CPU.
OF_THE_DISK = {Cause.POSTGRESQL_COMMIT}
OF_THE_CPU = {Cause.MACHINE, Cause.API_CPU}


@pytest.mark.parametrize("name", ["nothing", "table-lock", "halted-api", "sleeping-statement"])
def test_a_run_names_what_was_planted(stack: Stack, name: str) -> None:
    cause = CAUSES[name]

    # On a slow machine that also runs other tests, 20 users alone can saturate the API.
    users = 4 if name == "nothing" else 20
    result = run(stack, Trial(cause, users=users, repetition=1, duration="12s", strength=2))

    is_busy = (result.other_cpu_share or 0) > BUSY
    disturbed = OF_THE_DISK | (OF_THE_CPU if is_busy else set())
    causes = [it for it in (result.named, *result.others) if it not in disturbed] or [NONE]
    assert causes[0] == cause.expected
