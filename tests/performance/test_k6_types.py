"""The load script's types, where `just lint-load` has installed the TypeScript compiler."""

import shutil
import subprocess
from pathlib import Path

import pytest

PERFORMANCE = Path(__file__).parents[2] / "performance"
COMPILER = PERFORMANCE / "node_modules" / ".bin" / "tsc"

pytestmark = pytest.mark.skipif(not COMPILER.exists(), reason="`just lint-load` was not run")


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMPILER, "--project", folder], capture_output=True, text=True, check=False
    )


def test_the_script_keeps_its_types() -> None:
    answer = check(PERFORMANCE)

    assert answer.returncode == 0, answer.stdout


def test_a_misspelt_option_would_be_seen(tmp_path: Path) -> None:
    folder = tmp_path / "performance"
    shutil.copytree(PERFORMANCE, folder, symlinks=True, ignore=shutil.ignore_patterns("node_mod*"))
    (folder / "node_modules").symlink_to(PERFORMANCE / "node_modules")
    clinic = folder / "lib" / "clinic.js"
    clinic.write_text(clinic.read_text().replace("answer.status", "answer.statsu"))

    answer = check(folder)

    assert answer.returncode != 0
    assert "statsu" in answer.stdout
