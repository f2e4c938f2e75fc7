"""Known series in, known samples out: unit tests of expressions by the real promtool."""

import math
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from lab.promql.selectors import Side
from lab.stack.programs import find

RUN = "20261123-053249-load"
OTHER = "20261123-053250-stress"
# Samples are 5 s apart; a run of some samples is asked for well after its end.
AT = "20m"

TEMPO = "traces_spanmetrics_latency"
JAEGER = "traces_spanmetrics_duration_seconds"

Series = Mapping[str, str]
Samples = Mapping[str, float]
Asked = tuple[str, Samples, str]
"""An expression, the samples expected of it by their labels, and when."""


def asked(
    series: Series, questions: Iterable[Asked], interval: str = "5s"
) -> subprocess.CompletedProcess[str]:
    """Ask expressions of series, all in one process, and compare to six places."""
    unit = {
        "evaluation_interval": "5s",
        "fuzzy_compare": True,
        "tests": [
            {
                "interval": interval,
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": f"round({expression}, 0.000001)",
                        "eval_time": at,
                        "exp_samples": [
                            {"labels": labels, "value": round(value, 6)}
                            for labels, value in expected.items()
                        ],
                    }
                    # Those that look ahead find only what promtool has stored by the last time.
                    for expression, expected, at in [*questions, ("vector(1)", total(1), AT)]
                ],
            }
        ],
    }
    with TemporaryDirectory() as folder:
        file = Path(folder) / "unit.yml"
        file.write_text(yaml.safe_dump(unit, sort_keys=False))
        return subprocess.run(
            [find("promtool"), "test", "rules", file], capture_output=True, text=True, check=False
        )


def hold(series: Series, questions: Iterable[Asked], interval: str = "5s") -> None:
    """Assert that every expression gives what is expected of it; samples are `interval` apart."""
    outcome = asked(series, questions, interval)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


# Series by their names


def requests(
    name: str, run: str = RUN, *, failed: bool = False, status: int = 200, scenario: str = "load"
) -> str:
    ok = "false" if failed else "true"
    return (
        f'k6_http_reqs_total{{testid="{run}",name="{name}",scenario="{scenario}",'
        f'status="{status}",expected_response="{ok}"}}'
    )


def client_seconds(name: str, run: str = RUN, scenario: str = "load") -> str:
    labels = f'testid="{run}",name="{name}",scenario="{scenario}"'
    return f"k6_http_req_duration_seconds{{{labels}}}"


def stated(side: Side, name: str, run: str = RUN, scenario: str = "load") -> str:
    """Name the durations of one side that the responses stated to k6."""
    metric = "k6_server_duration_seconds"
    if side is Side.DATABASE:
        metric = "k6_database_duration_seconds"
    return f'{metric}{{testid="{run}",name="{name}",scenario="{scenario}"}}'


def span_metric(metric: str, operation: str, run: str = RUN, **labels: str | Side) -> str:
    named = {
        "clinic_operation": operation,
        "k6_test_run_id": run,
        "k6_scenario": "load",
        "span_kind": Side.SERVER,
        "http_response_status_code": "200",
    } | labels
    inside = ",".join(f'{label}="{value}"' for label, value in named.items() if value)
    return f"{metric}{{{inside}}}"


def mark(mark: str, run: str = RUN, profile: str = "load", /, **labels: str) -> str:
    named = {"testid": run, "profile": profile, "journey": "book"} | labels
    inside = ",".join(f'{label}="{value}"' for label, value in named.items())
    return f"{mark}{{{inside}}}"


def errors(kind: str, operation: str = "POST /owners") -> str:
    labels = f'testid="{RUN}",scenario="load",operation="{operation}",kind="{kind}"'
    return f"k6_errors_total{{{labels}}}"


# Values of native histograms


def histogram(count: int, total: float, offset: int) -> str:
    """Write observations that all lie between 2^(offset-1) and 2^offset seconds."""
    return f"{{{{schema:0 count:{count} sum:{total} buckets:[{count}] offset:{offset}}}}}"


def quantile(share: float, offset: int) -> float:
    """Compute a quantile of such observations; Prometheus interpolates within a bucket by ratio."""
    return math.exp2(offset - 1 + share)


# Expected samples


def total(value: float) -> Samples:
    """Expect one value without labels."""
    return {"{}": value}


def by(label: str, values: Mapping[str, float]) -> Samples:
    return {f'{{{label}="{value}"}}': number for value, number in values.items()}


def assert_finite(series: Series, expressions: Iterable[str], at: str = AT) -> None:
    """Assert that no expression gives infinity or NaN."""
    wrong = (f"count(({e}) != ({e}) or abs({e}) == Inf)" for e in expressions)
    hold(series, [(expression, {}, at) for expression in wrong])
