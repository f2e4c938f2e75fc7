"""Translated documents against their English originals."""

import re
from pathlib import Path

import pytest

from lab.paths import PROJECT

TRANSLATIONS = sorted([*PROJECT.glob("*.es.md"), *PROJECT.glob("[!.]*/*.es.md")])
# A translation of the beginning, which links to the English documents for the rest.
SHORT = {PROJECT / "README.es.md"}


def structure(document: Path) -> list[str]:
    """List the levels of the headings, and the code blocks as they are."""
    blocks = re.findall(r"^```.*?^```$|^#+ ", document.read_text(), re.MULTILINE | re.DOTALL)
    return [str(block) for block in blocks]


@pytest.mark.parametrize("path", TRANSLATIONS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_translation_has_the_headings_and_code_of_its_original(path: Path) -> None:
    original = path.with_name(path.name.replace(".es.md", ".md"))
    translated, english = structure(path), structure(original)

    assert translated == (english[: len(translated)] if path in SHORT else english)
    assert f"({path.name})" in original.read_text()
    assert f"({original.name})" in path.read_text()


def test_user_guides_are_translated() -> None:
    assert {PROJECT / "README.es.md", PROJECT / "performance" / "README.es.md"} <= {*TRANSLATIONS}
