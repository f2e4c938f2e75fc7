"""The justfile: what is typed after a recipe's name reaches its program, word for word."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.paths import PROJECT

PRINT_WORDS = """\
#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word" >> "$WORDS"; done
printf '\\n\\0' >> "$WORDS"
"""
HOSTILE = [
    *("not stack", "", " ", "a; touch ran", "$(touch ran)", "`touch ran`", "$HOME", "*", "~"),
    *(
        "it's",
        '"quoted"',
        "a\\b",
        "x|y>ran",
        "{{ uv }}",
        "-f",
        "--fail-over",
        "10 %",
        "ñandú",
        "a=b",
    ),
]
# They run other programs with their words: of one, a test uses a registry; of the other, git.
OTHER_PROGRAMS = {"pin-images", "release"}


def recipes() -> dict[str, list[dict[str, Any]]]:
    dump = ["just", "--dump", "--dump-format", "json"]
    output = subprocess.run(dump, cwd=PROJECT, capture_output=True, check=True).stdout
    return {
        name: recipe["parameters"]
        for name, recipe in json.loads(output)["recipes"].items()
        if recipe["parameters"] and name not in OTHER_PROGRAMS
    }


def run(folder: Path, *words: str) -> list[list[str]]:
    """Run a recipe with a program in place of uv; return the words of each of its calls."""
    program, written = folder / "a uv's", folder / "words"
    program.write_text(PRINT_WORDS)
    program.chmod(0o755)
    written.unlink(missing_ok=True)
    subprocess.run(
        ["just", f"--justfile={PROJECT / 'justfile'}", f"--working-directory={folder}", *words],
        env=os.environ | {"UV": str(program), "WORDS": str(written)},
        check=True,
    )
    calls = written.read_text().split("\n\0")[:-1]
    return [call.split("\0")[:-1] for call in calls]


@pytest.mark.parametrize("recipe", recipes())
def test_a_recipe_passes_each_word_on_unchanged_and_runs_none(recipe: str, tmp_path: Path) -> None:
    parameters = recipes()[recipe]
    required = [one for one in parameters if one["kind"] == "singular"]
    takes_more = len(required) < len(parameters)
    # With as many words as the recipe requires at least, and any number where it takes more.
    size = len(HOSTILE) if takes_more else len(required)
    groups = [HOSTILE[start : start + size] for start in range(0, len(HOSTILE), size)]

    for words in (group for group in groups if len(group) == size):
        (call,) = run(tmp_path, recipe, *words)

        assert call[-size:] == words

    assert not (tmp_path / "ran").exists()


def test_a_recipe_without_words_passes_none(tmp_path: Path) -> None:
    assert run(tmp_path, "report") == [["run", "--quiet", "lab", "report"]]
    assert run(tmp_path, "test") == [["run", "pytest"]]
    assert run(tmp_path, "smoke") == [["run", "--quiet", "lab", "run", "smoke"]]


@pytest.mark.parametrize(
    ("has_uv", "words"),
    [(True, ["run", "--quiet", "lab", "runs"]), (False, ["run", "uv==", "run", "--quiet", "lab"])],
)
def test_in_an_activated_environment_uv_is_run_by_pipx_where_it_is_not_on_path(
    tmp_path: Path, *, has_uv: bool, words: list[str]
) -> None:
    folder, written = tmp_path / "bin", tmp_path / "words"
    folder.mkdir()
    for name in ("pipx", "uv") if has_uv else ("pipx",):
        (folder / name).write_text(PRINT_WORDS)
        (folder / name).chmod(0o755)
    just, shell = shutil.which("just"), shutil.which("sh")
    assert just
    assert shell
    (folder / "sh").symlink_to(shell)
    environment = {name: value for name, value in os.environ.items() if name != "UV"}
    subprocess.run(
        [just, f"--justfile={PROJECT / 'justfile'}", f"--working-directory={tmp_path}", "runs"],
        env=environment | {"PATH": str(folder), "WORDS": str(written)},
        check=True,
    )

    called = written.read_text().split("\0")
    assert [word.rstrip("0123456789.") for word in called][: len(words)] == words


def test_programs_use_utf_8_in_any_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "es_CL.ISO-8859-1")
    monkeypatch.setenv("PYTHONUTF8", "0")
    program = tmp_path / "uv"
    program.write_text('#!/bin/sh\nprintf "$PYTHONUTF8" > "$WORDS"\n')
    program.chmod(0o755)
    just = ["just", f"--justfile={PROJECT / 'justfile'}", f"--working-directory={tmp_path}"]
    environment = os.environ | {"UV": str(program), "WORDS": str(tmp_path / "value")}

    subprocess.run([*just, "report"], env=environment, check=True)

    assert (tmp_path / "value").read_text() == "1"


def test_no_recipe_gives_its_parameters_to_a_shell() -> None:
    text = (PROJECT / "justfile").read_text()
    dump = ["just", "--dump", "--dump-format", "json"]
    output = subprocess.run(dump, cwd=PROJECT, capture_output=True, check=True).stdout
    names = {
        one["name"] for it in json.loads(output)["recipes"].values() for one in it["parameters"]
    }

    assert names
    assert not [name for name in names if f"{{{{ {name} }}}}" in text]
