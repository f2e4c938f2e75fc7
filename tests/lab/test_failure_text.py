"""What a report says of failures, and of CPU and memory."""

import pytest

from lab.reports import failure_text, resource_text
from lab.runs.record import Completeness, DatabaseError, ErrorCount, Resource, Timeline
from tests.support.factories import make_record, make_stats

PETS, OWNERS = "POST /owners/{owner_id}/pets", "POST /owners"
FAILED = {
    "operations": [make_stats(OWNERS), make_stats(PETS, failed_share=0.05)],
    "total": make_stats("All", requests=1200, failed_share=0.025),
}
HEAD = (
    "30 of 1,200 requests failed, most often POST /owners/{owner_id}/pets (5.0 % of its requests)"
)


def test_the_most_frequent_error_of_the_worst_operation_is_named() -> None:
    record = make_record(
        **FAILED,
        errors=[
            ErrorCount(OWNERS, "timeout", 50, 0, error_code=1050),
            ErrorCount(PETS, "status", 28, 500, "Internal Server Error"),
            ErrorCount(PETS, "status", 2, 503, "Service Unavailable"),
        ],
        database_errors=[DatabaseError(PETS, "P0001", 28), DatabaseError(OWNERS, "23505", 1)],
        completeness=Completeness(1200, 1, 1199),
    )

    assert failure_text.sentence(record) == (
        f"{HEAD}: status 500, Internal Server Error, SQLSTATE P0001 (raise_exception), "
        "raised by a trigger or function of the database. 1 request got no response."
    )


def test_the_statuses_are_named_where_no_reason_is_known() -> None:
    record = make_record(**FAILED, errors=[ErrorCount(PETS, "status", 30)], failed_statuses=[503])

    assert failure_text.sentence(record) == f"{HEAD}. Failed with status 503."


@pytest.mark.parametrize(
    ("rates", "when"),
    [
        ([0.5, 0.0, 1.0], " throughout the run"),
        ([0.0, 0.5, 0.0], " between 0:05 and 0:10"),
        ([0.0, None, 0.5], " between 0:10 and 0:15"),
        ([0.0, 0.0, 0.0], ""),
    ],
)
def test_failures_have_their_time(rates: list[float | None], when: str) -> None:
    timeline = Timeline(step=5.0, at=[5.0, 10.0, 15.0], failed_rate=rates)
    record = make_record(**FAILED, timeline=timeline)

    assert f"30 of 1,200 requests failed{when}, most often" in failure_text.sentence(record)


def test_without_failures_there_is_no_reason() -> None:
    assert failure_text.sentence(make_record()) == "No requests failed."


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ErrorCount(PETS, "status", 1, 404, "Not Found"), "status 404, Not Found"),
        (ErrorCount(PETS, "body", 1, 200), "status 200, an unexpected body"),
        (ErrorCount(PETS, "timeout", 1, 0, error_code=1050), "timeout"),
        (
            ErrorCount(PETS, "no response", 1, 0, error_code=1212),
            "no response (connection refused)",
        ),
        (ErrorCount(PETS, "no response", 1, 0, error_code=1999), "no response (k6 error 1999)"),
        (ErrorCount("none", "script", 1), "an exception in the script"),
        (ErrorCount(PETS, "status", 1), ""),
    ],
)
def test_an_error_has_a_reason_in_words(error: ErrorCount, expected: str) -> None:
    assert failure_text.reason(error) == expected


def test_cpu_and_memory_are_told_of_what_is_known() -> None:
    record = make_record(
        resources=[
            Resource(name="api", cpu_mean=0.853, cpu_max=1.0, memory=110e6, cores=2),
            Resource(name="postgresql", cpu_mean=0.31, cores=2),
            Resource(name="machine", cpu_mean=1.9, memory=3 * 2**30, cores=2),
        ]
    )

    assert resource_text.texts(record) == [
        "CPU, cores: API 0.85 of 2, PostgreSQL 0.31, machine 1.90 of 2.",
        "Memory: API 105 MiB, machine 3.0 GiB.",
    ]
    assert resource_text.texts(make_record()) == []
    assert resource_text.missing_texts(record) == [
        "k6: not known. It was not started by `just` on this machine."
    ]
    assert resource_text.missing_texts(make_record()) == []
