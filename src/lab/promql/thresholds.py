"""k6's thresholds as tables show them: what each is about, its condition, and the value reached.

A threshold of the SLO, such as `p(95)<300` on `http_req_duration{name:POST /owners}`, is worded as
reports word it; a custom one as k6 writes it.
"""

from lab import slo
from lab.promql import load_run
from lab.promql.load_run import THRESHOLD
from lab.promql.selectors import THRESHOLD_LIMIT, RunSelector, aggregate, quoted

# Labels of `results`; `share_of_limit` has the first.
ID, SUBJECT, CONDITION, REACHED = "id", "subject", "condition", "reached"
# Labels of `failed`.
FAILED_COUNT, ALL_COUNT = "failed", "all"
DURATION, FAILED = "http_req_duration[{].+", "http_req_failed[{].+"
# As many digits as carry information, as in reports.
MILLISECONDS = "(round({0}) >= 100 or round({0}, 0.1))"
PERCENT = "round(100 * {0}, 0.01)"
NUMBER = "round({0}, 0.001)"


def results(run: RunSelector) -> str:
    """1 for each threshold that passed and 0 for the others, with its texts as labels."""
    passed = load_run.thresholds(run)
    texts = " or ".join(
        (
            _text(MILLISECONDS, _reached(run, f"metric=~{quoted(DURATION)}"), "$1 ms"),
            _text(PERCENT, _reached(run, f"metric=~{quoted(FAILED)}"), "$1 %"),
            _text(NUMBER, _reached(run, f"metric!~{quoted(f'{DURATION}|{FAILED}')}"), "$1"),
        )
    )
    known = f"{passed} * on ({THRESHOLD}) group_left ({REACHED}) ({texts})"
    return _with_id(_worded(f"({known} or {passed} unless on ({THRESHOLD}) {_reached(run)})"))


def failed(run: RunSelector) -> str:
    """Number of thresholds that failed, with it and the number of all as labels."""
    passed = load_run.thresholds(run)
    count = f"(count({passed} == 0) or 0 * count({passed}))"
    written = f'count_values("{FAILED_COUNT}", {count})'
    every = f'count_values("{ALL_COUNT}", count({passed}))'
    texts = f"{every} * on () group_left ({FAILED_COUNT}) {written}"
    return f"{count} * on () group_left ({FAILED_COUNT}, {ALL_COUNT}) ({texts})"


def share_of_limit(run: RunSelector) -> str:
    """Quotient of the value reached and the limit, for each threshold."""
    limits = f"last_over_time({run.marks(THRESHOLD_LIMIT)}[{run.window}])"
    limit = aggregate("max", limits, THRESHOLD)
    return f"sum by ({ID}) ({_with_id(f'{_reached(run)} / {limit}')})"


def _reached(run: RunSelector, matchers: str = "") -> str:
    return load_run.thresholds_reached(run, matchers)


def _text(rounded: str, value: str, text: str) -> str:
    """Write a value in the label `reached`."""
    written = f'count_values by ({THRESHOLD}) ("{REACHED}", {rounded.format(value)})'
    return f'label_replace({written}, "{REACHED}", "{text}", "{REACHED}", "(.+)")'


def _with_id(expression: str) -> str:
    return f'label_join({expression}, "{ID}", " ", "metric", "threshold")'


def _worded(expression: str) -> str:
    """Name what a threshold is about, and its condition."""
    words = (
        (SUBJECT, "$1", "metric", "(.+)"),
        (SUBJECT, "all requests", "metric", r"http_req_(?:duration|failed)[{]scenario:.+"),
        (SUBJECT, "$1", "metric", r"http_req_(?:duration|failed)[{]name:(.+)[}]"),
        (CONDITION, "$1", "threshold", "(.+)"),
        (CONDITION, "p$1 < $2 ms", "threshold", r"p[(](\d+)[)]<(\d+)"),
        *(
            (CONDITION, f"failed < {100 * limit:g} %", "threshold", f"rate<{limit:g}")
            for limit in _failed_limits()
        ),
    )
    for label, text, source, pattern in words:
        expression = (
            f'label_replace({expression}, "{label}", "{text}", "{source}", {quoted(pattern)})'
        )
    return expression


def _failed_limits() -> list[float]:
    return sorted({limits.failed_share for limits in _all_limits()})


def _all_limits() -> list[slo.Limits]:
    by_operation = [
        slo.limits(operation, profile) for profile in slo.PROFILES for operation in slo.OPERATIONS
    ]
    return [slo.all_requests_limits(), *by_operation]
