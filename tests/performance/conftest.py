"""The load script as a fixture."""

from pathlib import Path

import pytest

from tests.support.k6 import Script


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)
