"""The HTML page of a run: self-contained, and harmless whatever its data contain."""

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from lab.clients.spans import Attribute
from lab.findings.summary import find
from lab.reports import run_html
from lab.runs import record
from lab.runs.record import ErrorCount, RecordError, Threshold
from tests.support.factories import (
    ENVIRONMENT,
    make_full_record,
    make_points,
    make_record,
    make_stats,
    make_trace,
)
from tests.support.html import Elements

HOSTILE = "\"'><script>alert(1)</script><img src=http://evil.invalid/x onerror=alert(2)>{{ 7*7 }}"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


RECORDS = pytest.mark.parametrize("run", [make_record(), make_full_record()], ids=["plain", "full"])


def render(run: record.Record) -> str:
    return run_html.render(run, find(run))


def text_of(run: record.Record) -> str:
    return Elements(render(run)).text


@RECORDS
def test_a_page_is_well_formed_and_loads_nothing(run: record.Record) -> None:
    html = render(run)
    elements = Elements(html).elements

    assert not {tag for tag, _ in elements} & {"script", "iframe", "object", "embed", "img", "form"}
    for _, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in {"src", "href", "xlink:href", "action", "data"} & attributes.keys():
            assert attributes[name].startswith("#") or attributes[name] == "data:,"
    assert "@import" not in html
    assert not re.search(r"url\(", html)
    policies = [a["content"] for _, a in elements if "http-equiv" in a]
    assert policies == [POLICY]


@RECORDS
def test_links_have_targets_and_ids_are_unique(run: record.Record) -> None:
    elements = Elements(render(run)).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    links = {a["href"] for tag, a in elements if tag == "a"}

    assert len(ids) == len(set(ids))
    assert links
    assert links <= {f"#{one}" for one in ids}


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


def test_hostile_names_and_attributes_are_text() -> None:
    run = make_record(
        run_id=f"20261124-{HOSTILE}",
        profile=HOSTILE,
        journey=HOSTILE,
        operations=[make_stats(HOSTILE)],
        operation_timeline=make_points(HOSTILE),
        thresholds=[Threshold(HOSTILE, HOSTILE, passed=False)],
        errors=[ErrorCount(HOSTILE, HOSTILE, 1)],
        slowest_traces=[
            make_trace(1, HOSTILE, {HOSTILE: HOSTILE, "db.query.text": f"{HOSTILE}\x00\x1b"})
        ],
        missing=[HOSTILE],
    )
    page = Elements(render(run))

    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img"}
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "49" not in page.text
    assert "\x00" not in page.text


def test_the_file_of_a_hostile_run_stays_in_its_folder() -> None:
    for run in ("../../etc/passwd", "/etc/passwd", "a/b", "..", "x" * 500):
        place = record.result_file(run, ".html")

        assert place.parent == record.results_folder()
        assert place.resolve().parent == record.results_folder().resolve()


def test_unknown_values_are_marked_as_unknown() -> None:
    row = make_stats(
        client_p95=None,
        server_p95=None,
        database_p95=None,
        outside_server=None,
        in_server=None,
        in_database=None,
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

    assert "no verdict" in text
    assert "No traces of this run." in text
    assert "No data." in text
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
    assert "Traces stored 590 8 missing" in text
    assert "Rows written 290 10 missing" in text
    assert "2 without a response" in text
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
    monkeypatch.setenv(record.FOLDER_VARIABLE, str(tmp_path / "new"))
    run = make_full_record()

    assert record.load(run.save()) == run
    assert record.load_saved(run.run_id) == run
    assert record.load_saved("another") is None
    assert record.saved_files() == [tmp_path / "new" / f"{run.run_id}.json"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "truncated"),
        ('{"format": 1}', "format 2"),
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
