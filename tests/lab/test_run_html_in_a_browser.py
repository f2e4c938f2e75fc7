"""The HTML pages in a real browser: they fit, log nothing, and load nothing."""

import json
import re
import shutil
import subprocess
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
from lab.runs.record import Record
from tests.support.factories import make_comparable, make_full_record, make_record, make_timeline

WIDTHS = (390, 1440)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Loads the page in a frame of each width, and writes down what a person would see.
LOOK = """<!doctype html><title>look</title><script>
const widths = %s, seen = [];
for (const width of widths) {
  const frame = document.createElement('iframe');
  Object.assign(frame, { src: 'page.html', width, height: 900 });
  frame.onload = () => {
    const root = frame.contentDocument.documentElement;
    const links = frame.contentWindow.performance.getEntriesByType('resource');
    seen.push({
      width,
      beyond: root.scrollWidth - root.clientWidth,
      requested: links.map(({ name }) => name),
      heading: root.querySelector('h1').innerText,
      charts: [...root.querySelectorAll('svg')].map((svg) => svg.clientHeight),
    });
    if (seen.length === widths.length) {
      const output = document.createElement('output');
      output.textContent = JSON.stringify(seen);
      document.body.append(output);
    }
  };
  document.documentElement.append(frame);
}
</script><body></body>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser is on PATH")
    return found


@contextmanager
def serve(html: str) -> Iterator[tuple[str, list[str]]]:
    """Serve a page and one that inspects it, and list the requested paths."""
    requested: list[str] = []
    pages = {"/": LOOK % json.dumps(WIDTHS), "/page.html": html}

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


def look(browser: str, html: str, folder: Path) -> tuple[list[dict[str, Any]], str, set[str]]:
    """Return what is seen at each width, the console's output, and the requested paths."""
    with serve(html) as (url, requested):
        answer = subprocess.run(
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                f"--user-data-dir={folder}",
                "--enable-logging=stderr",
                "--virtual-time-budget=10000",
                "--dump-dom",
                url,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    output = re.search(r"<output>(.*)</output>", answer.stdout)
    assert output, answer.stderr
    seen = json.loads(output[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    console = "\n".join(line for line in answer.stderr.splitlines() if ":CONSOLE" in line)
    return seen, console, set(requested)


@pytest.mark.parametrize("run", [make_record(), make_full_record()], ids=["plain", "full"])
def test_the_page_of_a_run_fits_every_width_and_loads_nothing(
    browser: str, tmp_path: Path, run: Record
) -> None:
    seen, console, requested = look(browser, run_html.render(run, find(run)), tmp_path)

    assert sorted(view["width"] for view in seen) == sorted(WIDTHS)
    for view in seen:
        assert view["beyond"] == 0
        assert view["requested"] == []
        assert view["heading"] == f"Run {run.run_id}"
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
        assert view["requested"] == []
        assert view["heading"] == "B compared with A"
        assert [height > 40 for height in view["charts"]] == [True] * 3
    assert console == ""
    assert requested <= {"/", "/page.html", "/favicon.ico"}
