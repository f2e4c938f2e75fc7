"""The HTML page of a run: self-contained, and harmless whatever its data contain."""

import base64
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from lab.clients.spans import Attribute
from lab.findings.summary import find
from lab.paths import RESULTS_VARIABLE, results_folder
from lab.reports import page, run_html
from lab.runs import record
from lab.runs.record import (
    Bottleneck,
    Check,
    DatabaseError,
    ErrorCount,
    PostgreSQL,
    RecordError,
    Statement,
    Threshold,
)
from tests.support.complete_record import make_complete_record
from tests.support.factories import (
    ENVIRONMENT,
    make_full_record,
    make_points,
    make_record,
    make_stats,
    make_trace,
)
from tests.support.html import Elements

HOSTILE = (
    "\"'><script>alert(1)</script><img src=http://evil.invalid/x onerror=alert(2)>{{ 997*991 }}"
)
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src '{hash}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
FOREIGN = {"iframe", "object", "embed", "img", "form"}


RECORDS = pytest.mark.parametrize(
    "run",
    [make_record(), make_full_record(), make_complete_record()],
    ids=["plain", "full", "complete"],
)


def render(run: record.Record) -> str:
    return run_html.render(run, find(run))


def json_of(run: record.Record) -> str:
    return f"./{run.file('.json').name}"


def text_of(run: record.Record) -> str:
    return Elements(render(run)).text


@RECORDS
def test_a_page_is_well_formed_and_loads_nothing(run: record.Record) -> None:
    html = render(run)
    elements = Elements(html).elements

    assert not {tag for tag, _ in elements} & FOREIGN
    for _, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in {"src", "href", "xlink:href", "action", "data"} & attributes.keys():
            assert attributes[name].startswith("#") or attributes[name] in {"data:,", json_of(run)}
    assert "@import" not in html
    assert not re.search(r"url\(", html)


@RECORDS
def test_the_policy_of_a_page_allows_its_own_script_only(run: record.Record) -> None:
    elements = Elements(render(run))
    [script] = elements.scripts

    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policies = [a["content"] for a in elements.attributes("meta") if "http-equiv" in a]
    assert policies == [POLICY.format(hash=f"sha256-{digest}")]


@pytest.mark.parametrize(("verdict", "reloads"), [("running", ["5"]), ("passed", [])])
def test_the_page_of_a_running_run_reloads_itself(
    verdict: record.Verdict, reloads: list[str]
) -> None:
    page = Elements(render(make_record(verdict=verdict)))

    metas = page.attributes("meta")
    assert [a["content"] for a in metas if a.get("http-equiv") == "refresh"] == reloads


@RECORDS
def test_links_have_targets_and_ids_are_unique(run: record.Record) -> None:
    elements = Elements(render(run)).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    links = {a["href"] for tag, a in elements if tag == "a"}

    assert len(ids) == len(set(ids))
    assert links
    assert links == {link for link in links if link.removeprefix("#") in ids} | {json_of(run)}


def test_a_page_is_accessible() -> None:
    elements = Elements(render(make_full_record())).elements

    assert [tag for tag, _ in elements].count("h1") == 1
    assert all(a.get("aria-label") for tag, a in elements if tag == "svg")
    assert all(a.get("scope") for tag, a in elements if tag == "th")
    assert ("html", {"lang": "en"}) in elements


def test_paths_break_before_slashes_only() -> None:
    html = render(make_record(operations=[make_stats("GET /owners/{owner_id}/pets")]))

    pieces = ("GET ", "/owners", "/{owner_id}", "/pets")
    assert "<wbr>".join(f'<span class="nowrap">{piece}</span>' for piece in pieces) in html


@pytest.mark.parametrize(
    ("name", "html"),
    [
        ("K6_SYSTEM_TAGS", "K6_<wbr>SYSTEM_<wbr>TAGS"),
        ("http.response.status_code", "http.<wbr>response.<wbr>status_<wbr>code"),
        ("status,name", "status,<wbr>name"),
        ("PostgreSQL 18.6", "PostgreSQL 18.6"),
        ("postgres-exporter", '<span class="nowrap">postgres-exporter</span>'),
        ("<b>_x", "&lt;b&gt;_<wbr>x"),
        ("a" * 33, f'<span class="anywhere">{"a" * 33}</span>'),
    ],
)
def test_names_break_after_separators_only(name: str, html: str) -> None:
    assert page.separable(name) == html


def test_the_menu_links_to_every_section() -> None:
    elements = Elements(render(make_complete_record()))
    sections = {f"#{a['id']}" for tag, a in elements.elements if tag == "h2" and "id" in a}

    assert sections | {"#top", "#durations"} <= {href for href, _ in elements.links}


def test_a_page_says_when_it_was_written() -> None:
    day = datetime.now(UTC).strftime("%Y-%m-%d")

    assert re.search(rf"Written {day} \d\d:\d\d UTC from what", text_of(make_record()))


def test_sentences_break_neither_in_words_of_paths_nor_between_numbers_and_units() -> None:
    html = page.prose("GET /owners/{owner_id}/pets: 856 ms at 12 req/s (0:35-0:40), 5 % of 3 MiB")

    assert "/owners</span><wbr>" in html
    assert '<span class="nowrap">(0:35-0:40' not in html
    assert '<span class="nowrap">0:35-0:40</span>' in html
    assert '<span class="nowrap">req/s</span>' in html.replace("12\N{NO-BREAK SPACE}", "")
    for words in ("856 ms", "12 req/s", "5 %", "3 MiB"):
        assert words not in html


def test_hostile_text_in_any_field_is_text() -> None:
    stats = make_stats(HOSTILE, client_p95=0.6)
    run = make_complete_record(
        run_id=f"20261124-{HOSTILE}",
        name=HOSTILE,
        note=HOSTILE,
        tags={HOSTILE: HOSTILE},
        profile=HOSTILE,
        journey=HOSTILE,
        operations=[stats],
        operation_timeline=make_points(HOSTILE),
        thresholds=[Threshold(HOSTILE, HOSTILE, passed=False, reached=3.0)],
        errors=[ErrorCount(HOSTILE, HOSTILE, 1, 500, HOSTILE, 1050)],
        database_errors=[DatabaseError(HOSTILE, HOSTILE, 1)],
        checks=[Check(HOSTILE, passed=0, failed=1)],
        postgresql=PostgreSQL(
            statements=[Statement(name=HOSTILE, calls=1, mean=0.1)], locks={HOSTILE: 1.0}
        ),
        bottleneck=Bottleneck(
            cause="postgresql_locks",
            share=0.5,
            evidence={"statement": HOSTILE, "lock": HOSTILE},
            operations=[HOSTILE],
        ),
        slowest_traces=[
            make_trace(1, HOSTILE, {HOSTILE: HOSTILE, "db.query.text": f"{HOSTILE}\x00\x1b"})
        ],
        failed_traces=[make_trace(2, HOSTILE)],
        environment=replace(ENVIRONMENT, commit=HOSTILE, programs={"api": HOSTILE}),
        missing=[HOSTILE],
    )
    page = Elements(render(run))

    assert not {tag for tag, _ in page.elements} & FOREIGN
    assert len(page.scripts) == 1
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert page.text.count("<script>alert(1)</script>") > 25
    assert "988027" not in page.text
    assert "\x00" not in page.text


def test_the_file_of_a_hostile_run_stays_in_its_folder() -> None:
    for run in ("../../etc/passwd", "/etc/passwd", "a/b", "..", "x" * 500):
        place = record.result_file(run, ".html")

        assert place.parent == results_folder()
        assert place.resolve().parent == results_folder().resolve()


def test_unknown_values_are_marked_as_unknown() -> None:
    row = make_stats(
        client_p95=None,
        server_p95=None,
        database_p95=None,
        client_mean=None,
        postgresql_execution=None,
        postgresql_lock_wait=None,
        postgresql_commit=None,
        time_shares={},
    )
    nothing = record.Timeline(step=5.0, at=[5.0])
    run = make_record(
        profile=None,
        journey=None,
        planned=None,
        verdict="none",
        thresholds=[],
        operations=[row],
        total=row,
        timeline=nothing,
        operation_timeline=[],
        slowest_traces=[],
        environment=None,
    )
    text = text_of(run)

    assert "No verdict" in text
    assert "No traces of this run." in text
    assert "Unknown: only the command that starts a run records it" in text
    assert "None" not in text.replace("Failed traces None.", "").replace("None known", "")
    assert "nan" not in text


def test_a_long_run_of_many_operations_and_spans_stays_below_a_megabyte() -> None:
    run = make_full_record(steps=120, operations=60)
    many: dict[str, Attribute] = {f"attribute.{number}": "value " * 20 for number in range(30)}
    traces = [make_trace(number, attributes=many, spans=500) for number in range(20)]
    run = make_record(
        operations=run.operations,
        timeline=run.timeline,
        operation_timeline=run.operation_timeline,
        slowest_traces=traces[:10],
        failed_traces=traces[10:],
    )

    html = render(run)

    assert len(html.encode()) < 1_000_000
    assert "… and 490 more spans" in html


def test_missing_traces_and_rows_are_reported() -> None:
    text = text_of(make_full_record())

    assert "The traces of 8 of 600 requests are missing." in text
    assert "Traces stored 590, 8 missing" in text
    assert "Rows written 290, 10 missing" in text
    assert "2 without a response" in text
    assert "incomplete 8 traces, 10 rows missing" in text
    assert "12 iterations were dropped" in text


@pytest.mark.parametrize(("share", "mentioned"), [(0.05, False), (0.45, True), (None, False)])
def test_cpu_use_by_other_programs_is_mentioned_when_it_matters(
    share: float | None,
    mentioned: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    run = make_record(environment=replace(ENVIRONMENT, other_cpu_share=share))

    assert ("Other programs used 45 % of the CPU" in text_of(run)) is mentioned


# The record beside it


def test_a_record_is_read_as_it_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path / "new"))
    run = make_full_record()

    assert record.load(run.save()) == run
    assert record.load_saved(run.run_id) == run
    assert record.load_saved("another") is None
    assert record.saved_files() == [tmp_path / "new" / f"{run.run_id}.json"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "truncated"),
        ('{"format": 1}', "format 4"),
        ('{"metrics": {}}', "missing required field"),
        ("[1]", "Expected `object`"),
    ],
)
def test_an_unreadable_record_is_reported(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)

    with pytest.raises(RecordError, match=sentence):
        record.load(path)
    with pytest.raises(RecordError, match="cannot be read"):
        record.load(tmp_path / "none.json")


def test_a_run_whose_programs_are_unknown_has_a_page() -> None:
    run = make_record(environment=replace(ENVIRONMENT, programs={}))

    assert "against http://127.0.0.1:8000" in text_of(run)
