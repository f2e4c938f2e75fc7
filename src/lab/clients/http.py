"""Ask a part of the stack by HTTP; what cannot be answered is a sentence."""

from typing import Any

import httpx

from lab.errors import UserError

TIMEOUT = 10.0


def ask(name: str, method: str, url: str, **options: Any) -> Any:
    """Give the JSON that a part answers, or nothing where it answers nothing."""
    place = httpx.URL(url).copy_with(path="/", query=None)
    try:
        answer = httpx.request(method, url, timeout=TIMEOUT, trust_env=False, **options)
    except httpx.TimeoutException:
        raise UserError(
            f"{name} at {place} did not answer within {TIMEOUT:g} s: see `just status`."
        ) from None
    except httpx.HTTPError:
        raise UserError(f"{name} does not answer at {place}: is the stack up? `just up`") from None
    try:
        answer.raise_for_status()
        return answer.json() if answer.content else None
    except (httpx.HTTPStatusError, ValueError):
        raise UserError(
            f"{name} at {place} refused (status {answer.status_code}): {answer.text[:200]!r}"
        ) from None
