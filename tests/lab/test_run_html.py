"""The page of a run: whole in itself, and harmless whatever a run is called or says."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from lab.clients.spans import Attribute
from lab.reports import run_html
from lab.runs import record
from lab.runs.record import Completeness, ErrorCount, RecordError, Threshold
from tests.support.factories import a_record, a_row, a_timeline, a_trace, points

EMPTY = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "\"'><script>alert(1)</script><img src=http://evil.invalid/x onerror=alert(2)>{{ 7*7 }}"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


class Elements(HTMLParser):
    """The elements of a page, which must be closed in the order in which they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def full_record(steps: int = 12, operations: int = 3) -> record.Record:
    """Make a run of which everything is known, failures and losses too."""
    names = [f"GET /number/{number}" for number in range(operations)]
    return a_record(
        verdict="failed",
        operations=[a_row(name, failed_share=0.02, client_p95=0.4) for name in names],
        timeline=a_timeline(steps, users=lambda i: i + 1.0, rate=lambda i: 2.0 * i + 1),
        operation_timeline=[
            part for name in names for part in points(name, steps, lambda i: 0.03 * i + 0.01)
        ],
        completeness=Completeness(600, 2, 590, 300, 290),
        errors=[ErrorCount(name, "status", 3) for name in names],
        dropped_iterations=12,
        failed_statuses=[503],
        slowest_traces=[a_trace(number) for number in range(10)],
        failed_traces=[a_trace(number) for number in range(5, 15)],
        missing=["8 of 600 requests have no stored span."],
    )


@pytest.mark.parametrize("run", [a_record(), full_record()], ids=["plain", "full"])
def test_a_page_is_well_formed_and_asks_for_nothing(run: record.Record) -> None:
    html = run_html.render(run)
    elements = Elements(html).seen

    assert not {tag for tag, _ in elements} & {"script", "iframe", "object", "embed", "img", "form"}
    for _, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in {"src", "href", "xlink:href", "action", "data"} & attributes.keys():
            assert attributes[name].startswith("#") or attributes[name] == "data:,"
    assert "@import" not in html
    assert not re.search(r"url\(", html)
    policies = [a["content"] for _, a in elements if "http-equiv" in a]
    assert policies == [POLICY]


@pytest.mark.parametrize("run", [a_record(), full_record()], ids=["plain", "full"])
def test_every_link_leads_somewhere_and_every_id_is_there_once(run: record.Record) -> None:
    elements = Elements(run_html.render(run)).seen
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    links = {a["href"] for tag, a in elements if tag == "a"}

    assert len(ids) == len(set(ids))
    assert links
    assert links <= {f"#{one}" for one in ids}


def test_a_page_can_be_read_without_seeing_it() -> None:
    elements = Elements(run_html.render(full_record())).seen

    assert [tag for tag, _ in elements].count("h1") == 1
    assert all(a.get("aria-label") for tag, a in elements if tag == "svg")
    assert all(a.get("scope") for tag, a in elements if tag == "th")
    assert ("html", {"lang": "en"}) in elements


def test_hostile_names_and_attributes_are_text() -> None:
    run = a_record(
        run_id=f"20261124-{HOSTILE}",
        profile=HOSTILE,
        journey=HOSTILE,
        operations=[a_row(HOSTILE)],
        operation_timeline=points(HOSTILE),
        thresholds=[Threshold(HOSTILE, HOSTILE, passed=False)],
        errors=[ErrorCount(HOSTILE, HOSTILE, 1)],
        slowest_traces=[
            a_trace(1, HOSTILE, {HOSTILE: HOSTILE, "db.query.text": f"{HOSTILE}\x00\x1b"})
        ],
        missing=[HOSTILE],
    )
    page_of_it = Elements(run_html.render(run))

    tags = {tag for tag, _ in page_of_it.seen}
    assert not tags & {"script", "img"}
    assert not [a for _, a in page_of_it.seen if any(name.startswith("on") for name in a)]
    assert page_of_it.text.count("<script>alert(1)</script>") > 10
    assert "49" not in page_of_it.text
    assert "\x00" not in page_of_it.text


def test_the_file_of_a_hostile_run_stays_in_its_folder() -> None:
    for run in ("../../etc/passwd", "/etc/passwd", "a/b", "..", "x" * 500):
        place = record.place(run, ".html")

        assert place.parent == record.folder()
        assert place.resolve().parent == record.folder().resolve()


def test_what_is_unknown_is_said_and_not_made_up() -> None:
    row = a_row(
        client_p95=None,
        server_p95=None,
        database_p95=None,
        outside_server=None,
        in_server=None,
        in_database=None,
    )
    nothing = record.Timeline(step=5.0, at=[5.0])
    run = a_record(
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
    text = " ".join(Elements(run_html.render(run)).text.split())

    assert "none" in text
    assert "There is no trace of this run." in text
    assert "Nothing was recorded." in text
    assert "Not known: it is kept by the command that starts a run" in text
    assert "None" not in text.replace("Failed traces None.", "")
    assert "nan" not in text


def test_a_long_run_of_many_operations_and_spans_stays_below_a_megabyte() -> None:
    run = full_record(steps=120, operations=60)
    many: dict[str, Attribute] = {f"attribute.{number}": "value " * 20 for number in range(30)}
    traces = [a_trace(number, attributes=many, spans=500) for number in range(20)]
    run = a_record(
        operations=run.operations,
        timeline=run.timeline,
        operation_timeline=run.operation_timeline,
        slowest_traces=traces[:10],
        failed_traces=traces[10:],
    )

    html = run_html.render(run)

    assert len(html.encode()) < 1_000_000
    assert "… and 490 more spans" in html


def test_the_page_of_a_lossy_run_says_what_was_lost() -> None:
    text = " ".join(Elements(run_html.render(full_record())).text.split())

    assert "8 of 600 requests have no stored span." in text
    assert "Traces stored 590 8 lost" in text
    assert "Rows written 290 10 lost" in text
    assert "2 without an answer" in text
    assert "k6 could not start 12 iterations in time" in text


@pytest.mark.parametrize(("share", "words"), [(0.05, False), (0.45, True), (None, False)])
def test_a_busy_machine_is_said(share: float | None, words: bool) -> None:  # noqa: FBT001
    made_in = a_record().environment
    assert made_in is not None
    run = a_record(environment=replace(made_in, other_cpu_share=share))

    text = Elements(run_html.render(run)).text

    assert ("Other programs took 45 % of the machine meanwhile" in text) is words


# The record beside it


def test_a_record_is_read_as_it_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(record.FOLDER_VARIABLE, str(tmp_path / "new"))
    run = full_record()

    assert record.load(run.save()) == run
    assert record.saved(run.run_id) == run
    assert record.saved("another") is None
    assert record.all_saved() == [tmp_path / "new" / f"{run.run_id}.json"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "truncated"),
        ('{"format": 1}', "format 2"),
        ('{"metrics": {}}', "missing required field"),
        ("[1]", "Expected `object`"),
    ],
)
def test_what_is_no_record_is_said(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)

    with pytest.raises(RecordError, match=sentence):
        record.load(path)
    with pytest.raises(RecordError, match="cannot be read"):
        record.load(tmp_path / "none.json")
