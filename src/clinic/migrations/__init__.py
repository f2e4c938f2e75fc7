"""The database's schema, step by step."""

from pathlib import Path

FOLDER = Path(__file__).parent
NUMBERS = sorted(file.name.partition("_")[0] for file in (FOLDER / "versions").glob("[0-9]*.py"))
"""The numbers of all migrations."""
NEWEST = NUMBERS[-1]
