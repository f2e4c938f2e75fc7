"""Folders of the checkout, and the one of the results."""

import os
from pathlib import Path

import platformdirs

PROJECT = Path(__file__).resolve().parents[2]
OBSERVABILITY = PROJECT / "observability"
PERFORMANCE = PROJECT / "performance"
RESULTS_VARIABLE = "CLINIC_RESULTS_DIR"


def results_folder() -> Path:
    """Return the folder of records and report pages, which Prometheus serves.

    They hold nothing secret, so they get the modes of the user's umask.
    """
    return Path(os.environ.get(RESULTS_VARIABLE) or PERFORMANCE / "results").absolute()


def cache_folder() -> Path:
    """Return the user's folder of what can be made again: built programs, chosen ports."""
    return platformdirs.user_cache_path("vet-clinic", appauthor=False)
