"""What `lab` itself says of a run in Prometheus, so that dashboards show the same words.

The value of each series is the time at which it was published, in seconds since 1970; the newest of
a run replaces what was published before. A report may be written after the time of evaluation, such
as the end of a dashboard's time range, so all expressions look ahead of it as well.
"""

from lab.promql.selectors import RunList, RunSelector, aggregate, last_around

# Labels: testid, position, subject, text. A sentence of the report; positions begin at 1.
FINDING = "load_run_finding_timestamp_seconds"
# Labels: testid, name, note, tags, version, commit, report. The address of the report page is empty
# if there is none.
INFO = "load_run_info_timestamp_seconds"
# Labels: testid, profile, journey. The run that others of its profile and journey are compared to.
BASELINE = "load_run_baseline_timestamp_seconds"
# Label: testid. A run that lists leave out.
DELETED = "load_run_deleted_timestamp_seconds"


def without_deleted(expression: str) -> str:
    """Leave out the series of runs that were deleted."""
    return f"({expression} unless on (testid) {last_around(DELETED)})"


def newest(metric: str, runs: RunSelector | RunList, by: str = "testid", matchers: str = "") -> str:
    """The series of a metric that were published last, for each value of `by`, or some of them."""
    published = last_around(runs.marks(metric))
    some = last_around(runs.marks(metric, matchers))
    return f"({some} == on ({by}) group_left () {aggregate('max', published, by)})"
