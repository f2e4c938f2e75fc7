"""The documents: their links lead somewhere, and the commands they name exist."""

import re
import subprocess
from pathlib import Path

import pytest

from lab.paths import PROJECT

LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
COMMAND = re.compile(r"\bjust ([a-z][a-z-]+)\b")
# Words that follow "just" in prose.
PROSE = {"is"}


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return [PROJECT / name for name in listed.stdout.splitlines()]


def anchors(document: Path) -> set[str]:
    """List the anchors of a document's headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(document: Path) -> None:
    for path, anchor in LINK.findall(document.read_text()):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


def test_every_command_that_a_document_names_is_a_recipe() -> None:
    summary = subprocess.run(
        ["just", "--summary"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    recipes = {*summary.stdout.split(), "run"}

    named = {
        (str(document.relative_to(PROJECT)), name)
        for document in documents()
        if document.name != "CHANGELOG.md"  # it names what was removed
        for name in COMMAND.findall(document.read_text())
    }

    assert not {(document, name) for document, name in named if name not in recipes | PROSE}
