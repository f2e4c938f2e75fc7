"""supervisord on state folders with any name: services get their words as they are."""

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.stack.config import claim
from lab.stack.service import Service
from lab.stack.supervisor import Supervisor, open_files
from tests.support.native_stack import AWKWARD, until

# A command leaves supervisord behind when it ends; this process lives on.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

PRINT = "import os, sys, time; print(sys.argv[1], os.environ['PLACE'], flush=True); time.sleep(60)"
PRINT_LIMIT = (
    "import resource, time; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], flush=True); "
    "time.sleep(60)"
)
NAMES = [
    "clinic #2",
    "clinic ;2",
    "#2; %(here)s %d $HOME `id`",
    "it's ours",
    '"quoted"',
    "ñandú 犬 🐕",
    " blanks ",
    "\ttabs\t#",
    AWKWARD,
    "x" * 200,
]


@pytest.fixture
def supervisor(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Supervisor]:
    state = tmp_path / request.param
    claim(state)
    supervisor = Supervisor(state)
    supervisor.logs.mkdir()
    yield supervisor
    if supervisor.running():
        supervisor.shutdown()


@pytest.mark.parametrize("supervisor", NAMES, indirect=True)
def test_a_service_runs_in_a_folder_of_any_name(supervisor: Supervisor) -> None:
    place = str(supervisor.state)
    words = (sys.executable, "-c", PRINT, place)
    service = Service("one", "1", "", "", words, {"PLACE": f"{place}/ ; # %"}, folder=place)

    supervisor.launch([service])
    supervisor.start("one")

    log = supervisor.log("one")
    until(lambda: log.exists() and log.read_text().endswith("\n"), 60)
    assert log.read_text() == f"{place} {place}/ ; # %\n"
    supervisor.reload([service])


@pytest.mark.parametrize("supervisor", ["clinic"], indirect=True)
def test_a_service_may_open_more_files_than_the_shell_allows(supervisor: Supervisor) -> None:
    service = Service("one", "1", "", "", (sys.executable, "-c", PRINT_LIMIT))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        supervisor.launch([service])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    supervisor.start("one")

    log = supervisor.log("one")
    until(lambda: log.exists() and log.read_text().endswith("\n"), 60)
    assert int(log.read_text()) == open_files() > 512


@pytest.mark.parametrize("supervisor", ["two\nlines"], indirect=True)
def test_a_folder_whose_name_has_a_line_break_is_refused(supervisor: Supervisor) -> None:
    with pytest.raises(UserError, match="must not contain line breaks"):
        supervisor.launch([])
