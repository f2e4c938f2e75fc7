"""The HTML pages in a real browser: they fit, load nothing, sort, show values, and print."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.findings.comparison import compare
from lab.findings.summary import find
from lab.reports import comparison_html, run_html
from lab.runs.record import Record, Threshold
from tests.support.browser import run_browser
from tests.support.complete_record import APPOINTMENT, OPERATIONS, OTHERS, make_complete_record
from tests.support.factories import make_comparable, make_full_record, make_record, make_timeline

WIDTHS = (390, 1024, 1440, 1920)
MAX_PAGES = 5
# Loads the page in a frame of each width, and writes down what the probe returns for it. A sandbox
# that does not allow scripts shows the page as a browser without them does.
LOOK = """<!doctype html><title>look</title><script>
const widths = %(widths)s, sandbox = %(sandbox)s, probe = %(probe)s, seen = [];
for (const width of widths) {
  const frame = document.createElement('iframe');
  Object.assign(frame, { src: 'page.html', width, height: 900 });
  if (sandbox) frame.sandbox = sandbox;
  frame.onload = () => {
    seen.push({ width, ...probe(frame.contentWindow, frame.contentDocument) });
    if (seen.length === widths.length) {
      const output = document.createElement('output');
      output.id = 'seen';
      output.textContent = JSON.stringify(seen);
      document.body.append(output);
    }
  };
  document.documentElement.append(frame);
}
</script><body></body>"""
LAYOUT = """(view, { documentElement: root }) => ({
  beyond: root.scrollWidth - root.clientWidth,
  cut: [...root.querySelectorAll('.card')]
    .filter((card) => card.scrollWidth > card.clientWidth + 1)
    .map((card) => card.innerText.slice(0, 60)),
  requested: view.performance.getEntriesByType('resource').map(({ name }) => name),
  heading: root.querySelector('h1').innerText,
  charts: [...root.querySelectorAll('svg')].map((svg) => svg.clientHeight),
})"""
# Clicks on the headings Operation and p95 of the operations' table, the latter twice.
SORT = """(view, { documentElement: root }) => {
  const table = root.querySelector('#operations ~ .card table');
  const headings = [...table.tHead.rows[0].cells];
  const click = (text) => {
    const heading = headings.find((one) => one.innerText.startsWith(text));
    heading.querySelector('button').click();
    return {
      operations: [...table.tBodies[0].rows].map(({ cells }) => cells[0].innerText.trim()),
      orders: headings.map((one) => one.getAttribute('aria-sort')).filter(Boolean),
      last: table.tFoot.rows[0].cells[0].innerText,
    };
  };
  return {
    reachable: headings.map((one) => one.querySelector('button')?.tabIndex ?? null),
    clicks: [click('p95'), click('p95'), click('Operation')],
  };
}"""
# Points at a moment of the first chart, leaves it, and then uses the keyboard.
VALUES = """(view, { documentElement: root }) => {
  const svg = root.querySelector('figure svg'), output = svg.nextElementSibling;
  const shown = () => (output.hidden ? '' : output.textContent);
  const act = (target, event) => (target.dispatchEvent(event), shown());
  const key = (name) =>
    act(svg, new view.KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true }));
  const { left, top } = svg.querySelectorAll('.moment')[7].getBoundingClientRect();
  const at = { clientX: left + 3, clientY: top + 3, bubbles: true };
  const pointer = (name, more) => act(svg, new view.PointerEvent(name, { ...at, ...more }));
  const result = {
    pointed: pointer('pointermove'),
    left: pointer('pointerleave'),
    tapped: pointer('pointerdown', { pointerType: 'touch' }),
    lifted: pointer('pointerleave', { pointerType: 'touch' }),
    swatches: [...output.querySelectorAll('i')].map((one) => one.style.background),
    below: output.getBoundingClientRect().top - root.querySelector('figure .legend').offsetTop,
    elsewhere: act(root.querySelector('h1'), new view.PointerEvent('pointerdown', at)),
  };
  return {
    ...result,
    reachable: svg.tabIndex,
    hint: root.querySelector('.scripted').checkVisibility(),
    keys: ['ArrowRight', 'ArrowRight', 'End', 'ArrowRight', 'Home', 'Escape'].map(key),
  };
}"""
# Points between the dots of a chart of one value against another.
DOTS = """(view, { documentElement: root }) => {
  const svg = root.querySelector('figure svg[aria-label*="by throughput"]');
  const { left, top, bottom } = svg.getBoundingClientRect();
  const at = { clientX: left + 50, clientY: (top + bottom) / 2, bubbles: true };
  svg.dispatchEvent(new view.PointerEvent('pointermove', at));
  return { text: svg.nextElementSibling.textContent };
}"""
# Clicks on the heading Result of the table of thresholds, then on Reached.
RESULTS = """(view, { documentElement: root }) => {
  const table = root.querySelector('#thresholds ~ .columns table');
  const click = (column) => {
    table.tHead.rows[0].cells[column].querySelector('button').click();
    return [...table.tBodies[0].rows].map(({ cells }) => cells[column].innerText.trim());
  };
  click(0);
  return { results: click(3), reached: click(2) };
}"""
WITHOUT_SCRIPT = """(view, { documentElement: root }) => ({
  buttons: root.querySelectorAll('button, output').length,
  rows: [...root.querySelectorAll('#operations ~ .card tbody tr')].length,
  titles: root.querySelector('figure').querySelectorAll('.moment title').length,
  hints: [...root.querySelectorAll('.scripted')].filter((one) => one.checkVisibility()).length,
  hidden: [...root.querySelectorAll('main section')].filter((one) => !one.clientHeight).length,
})"""


@contextmanager
def serve(html: str, look: str) -> Iterator[tuple[str, list[str]]]:
    """Serve a page and one that inspects it, and list the requested paths."""
    requested: list[str] = []
    pages = {"/": look, "/page.html": html}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

        def do_GET(self) -> None:
            requested.append(self.path)
            found = pages.get(self.path)
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((found or "").encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", requested
        server.shutdown()


def look(  # noqa: PLR0913 - all but the first three by name
    browser: str,
    html: str,
    folder: Path,
    *,
    probe: str = LAYOUT,
    widths: tuple[int, ...] = WIDTHS,
    sandbox: str = "",
) -> tuple[list[dict[str, Any]], str, set[str]]:
    """Return what is seen at each width, the console's output, and the requested paths."""
    values = {"widths": json.dumps(widths), "sandbox": json.dumps(sandbox), "probe": probe}
    with serve(html, LOOK % values) as (url, requested):
        answer = run_browser(
            browser,
            folder,
            "--enable-logging=stderr",
            "--virtual-time-budget=10000",
            "--dump-dom",
            url,
        )
    output = re.search(r'<output id="seen">(.*)</output>', answer.stdout, re.DOTALL)
    assert output, answer.stderr
    seen = json.loads(output[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    console = "\n".join(line for line in answer.stderr.splitlines() if ":CONSOLE" in line)
    return seen, console, set(requested)


def render(run: Record) -> str:
    return run_html.render(run, find(run))


@pytest.mark.parametrize(
    "run",
    [make_record(), make_full_record(), make_complete_record()],
    ids=["plain", "full", "complete"],
)
def test_the_page_of_a_run_fits_every_width_and_loads_nothing(
    browser: str, tmp_path: Path, run: Record
) -> None:
    seen, console, requested = look(browser, render(run), tmp_path)

    assert sorted(view["width"] for view in seen) == sorted(WIDTHS)
    for view in seen:
        assert view["beyond"] == 0
        assert view["cut"] == []
        assert view["requested"] == []
        assert view["heading"] == f"Run {run.name or run.run_id}"
        assert [height > 40 for height in view["charts"]].count(True) >= 5
    assert console == ""
    assert requested <= {"/", "/page.html", "/favicon.ico"}


def test_the_page_of_a_comparison_fits_every_width_and_loads_nothing(
    browser: str, tmp_path: Path
) -> None:
    before, after = (
        make_comparable(f"{start}-{'long' * 10}", book, timeline=make_timeline())
        for start, book in (("20261123-100000", 20), ("20261123-110000", 25))
    )
    comparison = compare(before, after)

    seen, console, requested = look(browser, comparison_html.render(comparison), tmp_path)

    assert comparison.operations[0].direction == "worse"
    for view in seen:
        assert view["beyond"] == 0
        assert view["cut"] == []
        assert view["requested"] == []
        assert view["heading"] == "B compared with A"
        assert [height > 40 for height in view["charts"]] == [True] * 3
    assert console == ""
    assert requested <= {"/", "/page.html", "/favicon.ico"}


def test_a_click_on_a_heading_sorts_a_table(browser: str, tmp_path: Path) -> None:
    html = render(make_complete_record())

    [view], console, _ = look(browser, html, tmp_path, probe=SORT, widths=(1280,))

    p95, reverse, name = view["clicks"]
    assert console == ""
    assert view["reachable"] == [0] * 8 + [None]
    assert p95["operations"][0] == APPOINTMENT
    assert p95["operations"][-1] == "POST /owners"
    assert p95["orders"] == ["descending"]
    assert reverse["operations"] == p95["operations"][::-1]
    assert reverse["orders"] == ["ascending"]
    assert name["operations"] == sorted(OPERATIONS)
    assert {click["last"] for click in view["clicks"]} == {"All"}


def test_pointer_and_arrow_keys_show_the_values_of_a_moment(browser: str, tmp_path: Path) -> None:
    html = render(make_complete_record())

    [view], console, _ = look(browser, html, tmp_path, probe=VALUES, widths=(1280,))

    assert console == ""
    assert view["reachable"] == 0
    assert view["pointed"].splitlines()[0] == "0:35-0:40"
    assert [line.split()[0] for line in view["pointed"].splitlines()[1:]] == [
        *("p50", "p90", "p95", "p99")
    ]
    assert view["left"] == ""
    assert view["tapped"] == view["lifted"] == view["pointed"]
    assert view["elsewhere"] == ""
    assert view["swatches"] == [f"var(--{name})" for name in ("p50", "p90", "p95", "p99")]
    assert view["below"] > 0
    assert view["hint"] is True
    assert [text.split("\n")[0] for text in view["keys"]] == [
        *("0:00-0:05", "0:05-0:10", "0:55-1:00", "0:55-1:00", "0:00-0:05", "")
    ]


def test_a_chart_of_dots_shows_the_values_of_the_nearest(browser: str, tmp_path: Path) -> None:
    [view], console, _ = look(
        browser, render(make_complete_record()), tmp_path, probe=DOTS, widths=(1280,)
    )

    assert console == ""
    assert re.fullmatch(r"\d:\d\d-\d:\d\d\nrequests .* req/s\np95 .* ms", view["text"])


def test_failed_thresholds_are_sorted_first_and_values_by_their_ratio_to_the_limit(
    browser: str, tmp_path: Path
) -> None:
    run = make_record(
        thresholds=[
            Threshold("http_req_failed{name:GET /a}", "rate<0.01", passed=True, reached=0.0),
            Threshold("http_req_duration{name:GET /b}", "p(95)<200", passed=False, reached=400.0),
            Threshold("http_req_duration{name:GET /c}", "p(95)<200", passed=True),
            Threshold("http_req_failed{name:GET /d}", "rate<0.01", passed=False, reached=0.05),
        ]
    )

    [view], _, _ = look(browser, render(run), tmp_path, probe=RESULTS, widths=(1280,))

    assert view["results"] == ["✗ failed", "✗ failed", "✓ passed", "✓ passed"]
    assert view["reached"] == ["5.00 %", "400 ms", "0.00 %", "-"]


def test_a_page_is_complete_without_its_script(browser: str, tmp_path: Path) -> None:
    html = render(make_complete_record())

    [view], _, _ = look(
        browser,
        html,
        tmp_path,
        probe=WITHOUT_SCRIPT,
        widths=(1280,),
        sandbox="allow-same-origin",
    )

    assert view == {"width": 1280, "buttons": 0, "rows": 12, "titles": 12, "hints": 0, "hidden": 0}


@pytest.mark.parametrize("others", [(), OTHERS], ids=["book", "mixed"])
def test_a_usual_run_prints_on_five_pages(
    browser: str, tmp_path: Path, others: tuple[str, ...]
) -> None:
    run = make_complete_record(*others)
    page, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(render(run))

    run_browser(browser, tmp_path / "profile", f"--print-to-pdf={pdf}", page.as_uri())

    pages = re.findall(rb"/Type\s*/Page\b(?!s)", pdf.read_bytes())
    assert 2 <= len(pages) <= MAX_PAGES
