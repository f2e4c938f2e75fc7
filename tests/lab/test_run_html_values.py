"""The numbers of a run's page: known records in, known cells, sentences and chart values out."""

import re
from html import unescape

import pytest

from lab.findings.summary import find
from lab.reports import run_html
from lab.runs import record
from lab.runs.record import (
    Bottleneck,
    Completeness,
    ErrorCount,
    Heatmap,
    Threshold,
    Timeline,
    Verdict,
    VerdictReason,
)
from tests.support.complete_record import (
    APPOINTMENT,
    OPERATIONS,
    PET,
    REFUSED,
    make_complete_record,
)
from tests.support.factories import make_record, make_stats
from tests.support.html import Elements

FAILED_TIMES = "0:00-1:00"
OF_ALL = " (failures of all operations)"


def render(run: record.Record) -> str:
    return run_html.render(run, find(run))


def page_of(run: record.Record) -> Elements:
    return Elements(render(run))


@pytest.fixture(scope="module")
def complete() -> Elements:
    return page_of(make_complete_record())


def moments(run: record.Record, title: str) -> list[list[str]]:
    """Return what a chart says of each moment, in lines."""
    figure = re.search(rf"<h3>{re.escape(title)}</h3>.*?</figure>", render(run), re.DOTALL)
    assert figure, title
    return [unescape(text).split("\n") for text in re.findall(r"<title>(.*?)</title>", figure[0])]


# The head


def test_the_head_identifies_the_run(complete: Elements) -> None:
    for words in (
        "Run before the index",
        "id 20261124-232004-load profile load journey book",
        "Tuesday, 24 November 2026, 23:20:05 UTC 1 min API 0.4.0 commit 4c4dfe1+",
        "team=bookings",
        "branch=main",
        "INSERT appointment without its index",
    ):
        assert words in complete.text


def test_the_head_names_what_failed_and_by_how_much_the_worst_first(complete: Elements) -> None:
    table = complete.table()
    first = table.index(["Applies to", "Limit", "Reached", "Over by", "When, since the start"]) + 1

    assert table[first : first + 4] == [
        ["errors", "count < 10", "✗ 37", "3.7\N{MULTIPLICATION SIGN}", FAILED_TIMES],
        [PET, "failed < 1 %", "✗ 3.53 %", "3.5\N{MULTIPLICATION SIGN}", FAILED_TIMES + OF_ALL],
        [APPOINTMENT, "p95 < 300 ms", "✗ 856 ms", "2.9\N{MULTIPLICATION SIGN}", "0:00-1:00"],
        [
            "GET /pets/{pet_id}/appointments",
            "p95 < 200 ms",
            "✗ 560 ms",
            "2.8\N{MULTIPLICATION SIGN}",
            "0:35-1:00",
        ],
    ]
    assert "… and 1 more" in complete.text


def test_the_bottleneck_comes_before_the_failed_thresholds_and_these_before_the_rest(
    complete: Elements,
) -> None:
    positions = [
        complete.text.index(words)
        for words in ("Failed: 9 of", "Bottleneck:", "Failed thresholds", "operations exceeded")
    ]

    assert positions == sorted(positions)


def test_failures_of_one_operation_alone_have_the_times_of_all_failures() -> None:
    failing = make_stats("POST /owners", failed_share=0.05, limit_failed_share=0.01)
    run = make_record(
        operations=[failing, make_stats("GET /owners")],
        thresholds=[Threshold("http_req_failed{name:POST /owners}", "rate<0.01", passed=False)],
        timeline=Timeline(step=5.0, at=[5.0, 10.0, 15.0], failed_rate=[0.0, 2.0, 0.0]),
        errors=[ErrorCount("POST /owners", "status", 3, 500)],
    )
    page = page_of(run)

    row = ["POST /owners", "failed < 1 %", "✗ 5.00 %", "5.0\N{MULTIPLICATION SIGN}", "0:05-0:10"]
    assert row in page.table()
    assert ("#errors", "POST/owners") in page.links


def test_the_operation_furthest_over_a_limit_is_first() -> None:
    run = make_record(
        operations=[
            make_stats("GET /a", client_p95=0.1, limit_p95=0.2),
            make_stats("GET /b", client_p95=0.6, limit_p95=0.2),
            make_stats("GET /c", client_p95=0.1, limit_p95=0.2, failed_share=0.05),
        ]
    )

    names = [row[0] for row in page_of(run).table() if row[0].startswith("GET /")]
    assert names[-3:] == ["GET /c", "GET /b", "GET /a"]


def test_the_trace_that_shows_the_bottleneck_is_printed() -> None:
    run = make_complete_record()
    html = render(run)
    printed = re.findall(r'<article class="trace card" id="(trace-[^"]+)"', html)
    [shown] = [href for href, words in page_of(run).links if words == "a trace that shows it"]

    assert shown.removeprefix("#") in printed
    assert (
        len([key for key in printed if key in {f"trace-{t.key}" for t in run.slowest_traces}]) == 4
    )
    assert "4 of 10 are printed." in page_of(run).text


def test_the_bottleneck_links_to_the_trace_with_the_longest_wait_for_a_connection() -> None:
    run = make_complete_record()
    waits = {
        trace.key: sum(span.duration for span in trace.spans if span.name == "connection wait")
        for trace in run.slowest_traces
    }

    page = page_of(run)

    assert "requests waited 214 ms on average for one of 10 connections" in page.text
    longest = max(waits, key=waits.__getitem__)
    assert longest != run.slowest_traces[0].key
    assert (f"#trace-{longest}", "a trace that shows it") in page.links


def test_the_head_sums_up_all_requests(complete: Elements) -> None:
    assert "Requests 4,302 71.7 req/s" in complete.text
    assert "p95 of all requests 500 ms limit 800 ms" in complete.text
    assert "Failed 0.86 % limit 1 %" in complete.text
    assert "Completeness ✓ complete" in complete.text


@pytest.mark.parametrize(
    ("verdict", "reason", "text", "tone"),
    [
        ("passed", "", "✓ Passed: all 2 thresholds", "good"),
        ("failed", "", "✗ Failed: 1 of 2 thresholds", "bad"),
        ("aborted", "interrupted", "■ Aborted: it was interrupted", "warning"),
        ("aborted", "killed", "■ Aborted: k6 did not report its end", "warning"),
        ("running", "", "… Running", "neutral"),
        ("none", "no_thresholds", "No verdict: k6 ran without thresholds", "neutral"),
        ("none", "other_generator", "No verdict: another script made it", "neutral"),
    ],
)
def test_a_verdict_has_its_words_and_its_colour(
    verdict: Verdict, reason: VerdictReason, text: str, tone: str
) -> None:
    thresholds = [
        Threshold("http_req_duration{name:POST /owners}", "p(95)<300", passed=passed)
        for passed in (verdict != "failed", True)
    ]
    run = make_record(verdict=verdict, verdict_reason=reason, thresholds=thresholds)

    page = page_of(run)
    badges = [a for a in page.attributes("a") if "badge" in a.get("class", "")]

    assert text in page.text
    assert [badge["class"] for badge in badges] == [f"badge {tone}"]


def test_a_run_without_thresholds_names_the_limits_that_it_exceeded() -> None:
    run = make_record(
        verdict="aborted",
        verdict_reason="interrupted",
        thresholds=[],
        operations=[make_stats("GET /owners", client_p95=0.45)],
    )
    page = page_of(run)

    assert "Exceeded limits, the furthest over first" in page.text
    assert [
        "GET /owners",
        "p95 < 300 ms",
        "✗ 450 ms",
        "1.5\N{MULTIPLICATION SIGN}",
        "",
    ] in page.table()


def test_a_running_run_says_what_is_not_stored_yet() -> None:
    run = make_record(verdict="running", completeness=Completeness(600, 0, 590, 300, 300))

    assert "10 traces not yet stored" in page_of(run).text


# Tables


def test_the_operations_stand_beside_their_limits(complete: Elements) -> None:
    table = complete.table()

    slow = ["703", "11.7", "✗ 856", "300", "98.40 %", "✗ 1.28 %", "1 %", ""]
    assert [APPOINTMENT, *slow] in table
    assert ["GET /owners", "696", "11.6", "✗ 500", "200", "12.34 %", "0.00 %", "1 %", ""] in table
    assert [
        "All",
        "4,302",
        "71.7",
        "500",
        "800",
        "12.34 % over 800 ms",
        "0.86 %",
        "1 %",
        "",
    ] in table


def test_a_met_limit_is_good_and_an_exceeded_one_bad() -> None:
    run = make_record(operations=[make_stats("GET /a", client_p95=0.2), make_stats(client_p95=0.4)])
    html = render(run)

    assert '<b class="good">200</b>' in html
    assert '<b class="bad">✗ 400</b>' in html


def test_the_distribution_of_durations_is_shown(complete: Elements) -> None:
    row = ["3.1", "428", "342", "770", "856", "1,027", "1,321", "843", "543"]

    assert [APPOINTMENT, *row] in complete.table()


def test_columns_without_values_are_left_out() -> None:
    headings = [row for row in page_of(make_record()).table() if row[-1] == "Database span p95"]

    assert headings == [
        ["Operation", "Mean", "p50", "p95", "p99", "Server p95", "Database span p95"]
    ]


def test_the_parts_of_the_mean_request_are_shown_in_milliseconds_and_shares(
    complete: Elements,
) -> None:
    shares = [
        "4.3 1 %",
        "8.6 2 %",
        "12.8 3 %",
        "8.6 2 %",
        "141 33 %",
        "240 56 %",
        "4.3 1 %",
        "8.6 2 %",
    ]

    assert [APPOINTMENT, "428", *shares] in complete.table()


def test_errors_are_listed_by_what_the_response_said(complete: Elements) -> None:
    table = complete.table()

    assert [
        PET,
        "unexpected status",
        "500",
        "Internal Server Error",
        "1500",
        "25",
        "trace",
    ] in table
    assert [APPOINTMENT, "unexpected status", "409", REFUSED, "1409", "9", "trace"] in table
    assert ["POST /owners", "timeout", "none", "", "1050 request timeout", "3", ""] in table
    assert [PET, "P0001 raise_exception", "25", "trace"] in table
    assert [APPOINTMENT, "23505 unique_violation", "9", "trace"] in table


def test_an_error_links_to_a_failed_trace_of_its_operation_and_status() -> None:
    run = make_complete_record()
    first = {trace.status: trace.key for trace in reversed(run.failed_traces)}
    page = page_of(run)

    traces = [href for href, words in page.links if words == "trace"]

    assert traces == [f"#trace-{first[status]}" for status in (500, 409, 500, 409)]


def test_resources_are_listed_by_program(complete: Elements) -> None:
    table = complete.table()

    assert ["API", "0.41", "0.63", "2", "125 MiB"] in table
    assert ["Machine", "1.02", "1.44", "2", "3.0 GiB"] in table


def test_what_postgresql_did_is_listed(complete: Elements) -> None:
    assert ["INSERT appointment", "703", "317.2", "451", "1.2", "0.9"] in complete.table()
    assert ["SELECT owner", "717", "0.3", "0.4", "-", "-"] in complete.table()
    assert "2.3 MB, 1,893 flushes of 0.9 ms on average" in complete.text
    assert "relation 0.8 s, tuple 0.1 s" in complete.text


def test_what_k6_measured_besides_is_listed(complete: Elements) -> None:
    table = complete.table()

    assert ["blocked", "0.012", "0.020"] in table
    assert ["TLS", "0.0", "0.0"] in table
    assert ["waiting", "251", "612"] in table
    assert "data sent 1.7 MB, 28.9 kB/s data received 9.4 MB, 156.9 kB/s" in complete.text
    assert "iterations 717, mean 3,412 ms, p95 5,208 ms dropped iterations 43" in complete.text
    assert ["status is 201", "2,105", "✗ 34"] in table
    assert ["the owner has an id", "717", "0"] in table


def test_thresholds_list_what_was_reached(complete: Elements) -> None:
    table = complete.table()

    assert ["errors", "count < 10", "37", "✗ failed"] in table
    assert ["all requests", "p95 < 800 ms", "500 ms", "✓ passed"] in table


def test_sections_of_which_nothing_is_known_are_left_out() -> None:
    headings = {a.get("id") for a in page_of(make_record()).attributes("h2")}
    complete = {a.get("id") for a in page_of(make_complete_record()).attributes("h2")}

    assert complete - headings == {"errors", "resources", "k6"}


# Charts


def timeline_record() -> record.Record:
    """Make a run of two intervals with values that are easy to tell apart."""
    return make_record(
        timeline=Timeline(
            step=5.0,
            at=[5.0, 10.0],
            virtual_users=[3.0, 120.0],
            rate=[20.0, 1234.0],
            failed_rate=[0.0, 0.25],
            client_p50=[0.01, 0.02],
            client_p90=[0.03, None],
            client_p95=[0.04, 0.05],
            client_p99=[0.06, 0.856],
            server_p95=[0.035, 0.045],
            database_p95=[0.002, 0.003],
            connections_used=[4.0, 10.0],
            connections_allowed=[10.0, 10.0],
            event_loop_lag_p95=[0.001, 0.0021],
            parts={"api_working": [0.002, 0.003], "api_pool": [0.0, 0.01]},
            cpu={"api": [0.5, 0.75], "machine": [1.0, 1.5]},
            memory={"api": [120 * 2.0**20, 131 * 2.0**20]},
        ),
        heatmap=Heatmap(first=-10, counts=[[7, 0], [2, 1500]]),
    )


@pytest.mark.parametrize(
    ("title", "lines"),
    [
        ("Client latency, ms", ["p50 20.0 ms", "p90 -", "p95 50.0 ms", "p99 856 ms"]),
        (
            "p95 by side, ms",
            ["client p95 50.0 ms", "server p95 45.0 ms", "database span p95 3.0 ms"],
        ),
        ("Load, req/s", ["requests 1,234 req/s", "virtual users 120"]),
        ("Failed, req/s", ["failed 0.25 req/s"]),
        ("CPU, cores", ["API 0.75 cores", "Machine 1.50 cores"]),
        ("Memory, MiB", ["API 131 MiB"]),
        ("Database connections of the API", ["in use, maximum 10", "pool size 10"]),
        ("Event-loop delay, ms", ["p95 of the API 2.1 ms"]),
        (
            "Mean request by where its time goes, ms",
            ["API CPU 3.0 ms", "Pool 10.0 ms", "total 13.0 ms"],
        ),
        ("Client p95, ms, by throughput, req/s", ["requests 1,234 req/s", "p95 50.0 ms"]),
    ],
)
def test_a_chart_has_the_values_of_each_moment(title: str, lines: list[str]) -> None:
    first, second = moments(timeline_record(), title)

    assert first[0] == "0:00-0:05"
    assert second == ["0:05-0:10", *lines]


def test_the_heatmap_counts_requests_by_duration() -> None:
    assert moments(timeline_record(), "Requests by duration, ms") == [
        ["0:00-0:05, requests", "22.1-31.2 ms: 7"],
        ["0:05-0:10, requests", "31.2-44.2 ms: 1,500", "22.1-31.2 ms: 2"],
    ]


def test_the_heatmap_of_a_long_run_merges_intervals_and_the_shortest_durations() -> None:
    at = [5.0 * (number + 1) for number in range(120)]
    counts = [[1] * 20 + [2] for _ in at]
    run = make_record(timeline=Timeline(step=5.0, at=at), heatmap=Heatmap(first=-46, counts=counts))

    texts = moments(run, "Requests by duration, ms")

    assert len(texts) == 60
    assert texts[0] == ["0:00-0:10, requests", "0.09-0.12 ms: 44"]


def test_operations_over_time_have_values_too() -> None:
    run = make_complete_record()
    values = moments(
        run, '<span class="nowrap">POST </span><wbr><span class="nowrap">/owners</span>'
    )

    assert len(values) == 12
    assert values[0] == ["0:00-0:05", "client 20.0 ms", "server 19.4 ms", "database 3.0 ms"]


def test_all_operations_of_a_usual_run_are_drawn(complete: Elements) -> None:
    assert {f"operation-{number + 1}" for number in range(len(OPERATIONS))} <= {
        a.get("id") for a in complete.attributes("figure")
    }


def test_an_unknown_bottleneck_needs_no_trace() -> None:
    run = make_record(bottleneck=Bottleneck(cause="unknown", share=1.0), slowest_traces=[])

    assert "Bottleneck: unknown. 100 %" in page_of(run).text
