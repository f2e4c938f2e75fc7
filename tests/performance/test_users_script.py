"""The load script that users already have, with k6 against the real API."""

from pathlib import Path

import pytest

from clinic.settings import Settings
from tests.support.abuse import serving
from tests.support.k6 import output_of, start_k6

pytestmark = pytest.mark.stack

SCRIPT = Path(__file__).parent / "users-script.js"


def test_what_users_already_send_is_accepted(settings: Settings) -> None:
    with serving(settings, token=None) as url:
        k6 = start_k6(settings={"BASE_URL": url}, script=SCRIPT)
        output = output_of(k6)

    assert k6.returncode == 0, output
