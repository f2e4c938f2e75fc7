"""What k6 derives from the script: the scenario of a profile, and the SLO as thresholds."""

from typing import Any

import pytest

from lab import slo
from lab.paths import PERFORMANCE
from lab.runs import start
from tests.support.k6 import STEPS, Script, output_of, start_k6

pytestmark = pytest.mark.stack


def test_helpers_pass_their_unit_tests_in_k6() -> None:
    process = start_k6(settings={}, script=PERFORMANCE / "tests" / "helpers.js")
    output = output_of(process)

    assert process.returncode == 0, output


def test_profile_is_one_scenario_scaled_by_the_settings(script: Script) -> None:
    options = script.options(PROFILE="load", DURATION="70s", RATE="60", JOURNEY="browse")

    (scenario,) = options["scenarios"].items()
    assert scenario[0] == "load"
    assert (
        scenario[1].items()
        >= {
            "executor": "ramping-arrival-rate",
            "startRate": 4,
            "timeUnit": "1s",
            "preAllocatedVUs": 141,
            "maxVUs": 342,
            "stages": [
                {"target": 20, "duration": "20s"},
                {"target": 60, "duration": "30s"},
                {"target": 20, "duration": "20s"},
            ],
        }.items()
    )


def limits_on(requests: str, limits: slo.Limits) -> dict[str, list[str]]:
    return {
        f"http_req_duration{{{requests}}}": [f"p(95)<{limits.p95 * 1000:g}"],
        f"http_req_failed{{{requests}}}": [f"rate<{limits.failed_share:g}"],
    }


def threshold(limit: Any) -> str:
    return str(limit["threshold"] if isinstance(limit, dict) else limit)


@pytest.mark.parametrize(
    ("profile", "journey"),
    [*((profile, "book") for profile in start.PROFILES), *(("load", name) for name in STEPS)],
)
def test_thresholds_are_the_slo(script: Script, profile: str, journey: str) -> None:
    expected = limits_on(f"scenario:{profile}", slo.all_requests_limits())
    if profile in {"smoke", "load", "stress"}:
        expected["errors"] = ["count<10"]
    for name in STEPS[journey]:
        expected |= limits_on(f"name:{name}", slo.limits(name, profile))

    thresholds = script.options(PROFILE=profile, JOURNEY=journey)["thresholds"]

    assert {
        metric: [threshold(limit) for limit in limits] for metric, limits in thresholds.items()
    } == expected
    aborts = {
        isinstance(limit, dict) and limit["abortOnFail"]
        for limits in thresholds.values()
        for limit in limits
    }
    assert aborts == {profile == "breakpoint"}


def test_limits_are_those_that_users_set() -> None:
    assert slo.all_requests_limits() == slo.Limits(0.8, 0.01)
    assert slo.limits("POST /owners").p95 == 0.3
    assert slo.limits("GET /appointments").p95 == 0.2
    assert {slo.limits(name, "stress").p95 for name in slo.OPERATIONS} == {0.8}
