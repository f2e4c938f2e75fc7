"""What the load script plans: the objective as thresholds, and the shape of each profile."""

from pathlib import Path
from typing import Any

import pytest

from lab import slo
from lab.runs import start
from tests.support.k6 import Script, stated

pytestmark = pytest.mark.stack


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


# The objective, stated once


def bare(thresholds: dict[str, list[Any]]) -> dict[str, list[str]]:
    """Leave out when a threshold stops the run."""
    return {
        metric: [limit if isinstance(limit, str) else limit["threshold"] for limit in limits]
        for metric, limits in thresholds.items()
    }


@pytest.mark.parametrize("journey", start.JOURNEYS)
@pytest.mark.parametrize("profile", start.PROFILES)
def test_k6s_thresholds_are_the_objective(script: Script, profile: str, journey: str) -> None:
    options = script.options(PROFILE=profile, JOURNEY=journey)

    assert bare(options["thresholds"]) == stated(profile, journey)
    assert list(options["scenarios"]) == [profile]


def test_the_users_own_limits_stand() -> None:
    assert slo.all_requests_limits() == slo.Limits(0.8, 0.01)
    for profile in ("smoke", "load", "stress"):
        assert stated(profile, "book")["errors"] == ["count<10"]
    assert slo.limits("POST /owners").p95 == 0.3
    assert slo.limits("GET /appointments").p95 == 0.2
    assert {slo.limits(name, "stress").p95 for name in slo.OPERATIONS} == {0.8}


def test_only_breakpoint_stops_when_a_limit_is_crossed(script: Script) -> None:
    for profile in start.PROFILES:
        limits = script.options(PROFILE=profile)["thresholds"].values()
        stops = {
            isinstance(limit, dict) and limit["abortOnFail"] for all_ in limits for limit in all_
        }
        assert stops == {profile == "breakpoint"}


# Overrides


def shape(options: dict[str, Any]) -> Any:
    (scenario,) = options["scenarios"].values()
    if "stages" in scenario:
        first = scenario.get("startRate", scenario.get("startVUs"))
        return first, [(stage["target"], stage["duration"]) for stage in scenario["stages"]]
    return scenario["rate"], scenario["duration"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"PROFILE": "smoke", "DURATION": "5s", "RATE": "7"}, (7, "5s")),
        ({"DURATION": "70s"}, (2, [(10, "20s"), (30, "30s"), (10, "20s")])),
        ({"RATE": "60"}, (4, [(20, "2m0s"), (60, "3m0s"), (20, "2m0s")])),
        ({"RATE": "1"}, (1, "7m0s")),
        (
            {"PROFILE": "stress", "DURATION": "10s", "VUS": "10"},
            (0, [(2, "2s"), (6, "4s"), (10, "2s"), (0, "2s")]),
        ),
        ({"PROFILE": "soak", "DURATION": "8h"}, (10, "8h0m0s")),
        ({"PROFILE": "breakpoint", "RATE": "300", "DURATION": "1h"}, (10, [(300, "1h0m0s")])),
        (
            {"PROFILE": "spike", "VUS": "40", "DURATION": "17s"},
            (2, [(2, "3s"), (40, "1s"), (40, "6s"), (2, "1s"), (2, "6s")]),
        ),
    ],
)
def test_duration_rate_and_users_scale_a_profile(
    script: Script, settings: dict[str, str], expected: Any
) -> None:
    assert shape(script.options(**settings)) == expected


def virtual(script: Script, **settings: str) -> tuple[int, int]:
    (scenario,) = script.options(**settings)["scenarios"].values()
    return scenario["preAllocatedVUs"], scenario["maxVUs"]


def test_virtual_users_suffice_for_more_visits_and_for_pauses(script: Script) -> None:
    assert virtual(script) == (20, 50)
    assert virtual(script, RATE="60") == (20, 100)
    assert virtual(script, JOURNEY="browse") == (80, 170)
    assert virtual(script, VUS="12") == (12, 12)
