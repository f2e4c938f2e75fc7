"""Pages of another origin in a real browser, and what becomes of their requests."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

FOREIGN = "evil.example"
"""A name that the browser finds at 127.0.0.1."""

RESULTS = re.compile(r'<output id="results">(.*)</output>', re.DOTALL)
# Tries, and writes down what became of it: as the document itself, or to the page that frames it.
ATTEMPTS = """<!doctype html><title>page</title><body><script>
const attempts = %s;
const bytes = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));
(async () => {
  const results = [];
  for (const { url, method, mode, type, body } of attempts) {
    // Without credentials no browser asks for a password, and waits for it.
    const options = { method, mode, credentials: 'omit', signal: AbortSignal.timeout(5000) };
    if (body !== '') options.body = new Blob([bytes(body)], { type });
    try {
      const response = await fetch(url, options);
      results.push(response.type === 'opaque' ? 'opaque' : `${response.status}`);
      await response.body?.cancel(); // unread, it would keep one of six connections
    } catch (error) {
      results.push(error.name);
    }
  }
  if (parent !== window) return parent.postMessage(results, '*');
  const output = document.createElement('output');
  output.id = 'results';
  output.textContent = JSON.stringify(results);
  document.body.append(output);
})();
</script></body>"""
FRAMES = """<!doctype html><title>frames</title><body><script>
const pages = %s;
const results = {};
onmessage = ({ origin, data }) => {
  results[pages.findIndex((page) => page.startsWith(`${origin}/`))] = data;
  if (Object.keys(results).length < pages.length) return;
  const output = document.createElement('output');
  output.id = 'results';
  output.textContent = JSON.stringify(pages.map((_, index) => results[index]));
  document.body.append(output);
};
for (const src of pages) {
  document.body.append(Object.assign(document.createElement('iframe'), { src }));
}
</script></body>"""


@dataclass(frozen=True)
class Attempt:
    """A request by the script of a page."""

    url: str
    method: str = "GET"
    body: str = ""
    """Bytes as Latin-1."""
    type: str = ""
    mode: str = "cors"


def page_that_tries(attempts: Sequence[Attempt]) -> str:
    text = json.dumps([asdict(attempt) for attempt in attempts])
    return ATTEMPTS % text.replace("<", "\\u003c")


def page_that_frames(urls: Sequence[str]) -> str:
    """Return a page whose results are those of other pages, each of its own origin."""
    return FRAMES % json.dumps(urls)


def results_of(document: str) -> Any:
    """Return what the script of a page has written down."""
    output = RESULTS.search(document)
    assert output, document
    return json.loads(output[1])


def http_response(page: str) -> bytes:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n\r\n"
    return (head + page).encode()


@contextmanager
def hosting(page: str) -> Iterator[int]:
    """Serve a page at every path of a port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            self.wfile.write(http_response(page))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def rebinding(page: str, port: int) -> Iterator[int]:
    """Serve a page at /page, and let all else through to a port of this machine.

    To the browser this is a name that led to the page's server first and leads here afterwards: the
    page and the service have one origin.
    """

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            begin = self.connection.recv(65536)
            if begin.startswith(b"GET /page "):
                self.wfile.write(http_response(page))
                return
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as service:
                service.sendall(begin)
                Thread(target=pump, args=(self.connection, service), daemon=True).start()
                pump(service, self.connection)

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)


def visit(browser: str, profile: Path, url: str) -> str:
    """Return the document at a URL once its scripts have run."""
    mapped = f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"
    document = ("--virtual-time-budget=15000", "--dump-dom", url)
    return run_browser(browser, profile, mapped, *document).stdout


def run_browser(browser: str, profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
