"""The OpenAPI document says what the API does."""

import pytest

from clinic.settings import Settings
from tests.support.abuse import TOKEN, abuse


@pytest.mark.stack
@pytest.mark.parametrize("token", [None, TOKEN])
def test_generated_requests_are_answered_as_documented(
    settings: Settings, token: str | None
) -> None:
    result = abuse(settings, token, "--max-examples=8", "--no-shrink")

    assert result.passed, result.output
    assert result.cases > 1000
