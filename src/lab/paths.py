"""Folders of the checkout."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
OBSERVABILITY = PROJECT / "observability"
PERFORMANCE = PROJECT / "performance"
