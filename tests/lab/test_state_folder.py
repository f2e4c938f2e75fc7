"""Which folders a stack takes for its state, and which it removes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.paths import PROJECT
from lab.runs.k6 import secrets_in_files
from lab.runs.record import write_file
from lab.stack.config import MARKER, StackConfig, check_removable, claim, read_saved
from lab.stack.postgres import check_installation
from tests.support.programs import NOWHERE, ask


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def thesis(tmp_path: Path) -> Iterator[Path]:
    """Return somebody's folder, and check that it stays as it is."""
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter-1.txt").write_text("text")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["chapter-1.txt"]


@pytest.mark.parametrize("folder", ["state", "a/new/state"])
def test_a_new_or_empty_folder_becomes_a_state_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    state = tmp_path / folder

    claim(state)
    (state / "more").touch()
    claim(state)

    assert mode(state) & 0o066 == 0
    assert mode(state / "more") & 0o077 == 0
    check_removable(state)


def test_results_may_be_in_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("CLINIC_RESULTS_DIR", str(tmp_path / "results"))

    claim(tmp_path)

    check_removable(tmp_path)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_results_have_the_modes_of_the_users_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        written = write_file(tmp_path / "results" / "run.html", b"")
    finally:
        os.umask(before)

    assert mode(written) == 0o666 & ~umask
    assert mode(written.parent) == 0o777 & ~umask


def test_other_folders_are_neither_taken_nor_removed(thesis: Path) -> None:
    with pytest.raises(UserError, match="holds files that are not a stack's"):
        claim(thesis)
    with pytest.raises(UserError, match=r"is not the folder of a stack\. Nothing was removed"):
        check_removable(thesis)


@pytest.mark.parametrize("command", [("destroy", "--yes"), ("up",)])
def test_commands_leave_other_folders_alone(thesis: Path, command: tuple[str, ...]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "lab", *command],
        cwd=PROJECT,
        env={**os.environ, "CLINIC_STATE_DIR": str(thesis), "STACK_BACKEND": "native"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 1
    assert str(thesis) in ran.stderr


@pytest.mark.parametrize("name", ["stack.json", "postgres-password"])
def test_a_folder_of_an_earlier_version_is_marked_first(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    with pytest.raises(UserError, match="run `just up` once"):
        check_removable(tmp_path)
    claim(tmp_path)

    check_removable(tmp_path)


def test_folders_that_hold_more_than_a_stack_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home" / "ana"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "link").symlink_to(home)
    for folder in (Path("/"), home, home.parent, tmp_path / "link", PROJECT, PROJECT.parent):
        for check in (claim, check_removable):
            with pytest.raises(UserError, match="cannot be the state folder"):
                check(folder)
    assert not (home / MARKER).exists()


def test_the_state_folder_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("CLINIC_STATE_DIR", str(tmp_path / "link" / ".." / "real" / "state"))

    assert StackConfig.from_env().state == tmp_path / "real" / "state"


def test_k6_gets_the_token_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("correct-horse-battery\n")
    named = {"CLINIC_API_TOKEN_FILE": str(file)}

    assert secrets_in_files(named) == {"CLINIC_API_TOKEN": "correct-horse-battery"}
    assert secrets_in_files({}) == {}
    assert secrets_in_files({**named, "CLINIC_API_TOKEN": "another"}) == {}
    with pytest.raises(UserError, match="CLINIC_API_TOKEN_FILE"):
        secrets_in_files({"CLINIC_API_TOKEN_FILE": str(tmp_path / "none")})


def test_the_folder_of_another_user_is_named_with_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> str:
        raise PermissionError(13, "Permission denied")  # not even root is refused here otherwise

    monkeypatch.setattr(Path, "read_text", refuse)

    with pytest.raises(UserError, match=rf"another user, {tmp_path.owner()}\. Run this as") as no:
        read_saved(tmp_path)

    assert "CLINIC_STATE_DIR" in no.value.message


def test_a_run_whose_record_could_not_be_written_is_refused_before_it() -> None:
    refused = ask(NOWHERE, NOWHERE, "run", "smoke", CLINIC_RESULTS_DIR="/proc/results")

    assert refused.returncode == 1
    assert "/proc/results cannot be written" in refused.stderr


@pytest.mark.parametrize("name", ["$HOME", "`id`", 'a "quote"', "back\\slash"])
def test_a_checkout_whose_name_initdb_gives_to_a_shell_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="a shell would interpret"):
        check_installation(Path("/home/ana") / name / ".venv")

    check_installation(Path("/home/ana/vet clinic #2; 100 % ñ's/.venv"))
