"""Services as they are elsewhere: behind TLS and a password, below a path, for a tenant."""

import gzip
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which

import bcrypt
import httpx
import pytest

USER, PASSWORD, TENANT = "123456", "glc_a-secret-of-the-tests", "vets"


@dataclass(frozen=True)
class Certificate:
    """A certificate that signs itself, for localhost and 127.0.0.1."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> "Certificate":
        if not which("openssl"):
            pytest.skip("openssl is not on PATH")
        made = cls(folder / "certificate.pem", folder / "key.pem")
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
        name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        files = ["-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run([*request, *name, *files], check=True, capture_output=True)
        return made

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def web_config(folder: Path, certificate: Certificate) -> Path:
    """Write `--web.config.file` of a Prometheus: TLS and one user."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    file = folder / "web.yml"
    file.write_text(
        f"tls_server_config:\n  cert_file: {certificate.certificate}\n  key_file: {certificate.key}"
        f"\nbasic_auth_users: {{ '{USER}': '{hashed}' }}\n"
    )
    return file


def variables(prefix: str, url: str, certificate: Certificate) -> dict[str, str]:
    """Return the variables that name a protected service."""
    file = certificate.key.parent / "password"
    file.write_text(f"{PASSWORD}\n")
    return {
        f"{prefix}_URL": url,
        f"{prefix}_USERNAME": USER,
        f"{prefix}_PASSWORD_FILE": str(file),
        f"{prefix}_CA_FILE": str(certificate.certificate),
    }


@dataclass
class Door:
    """A reverse proxy with TLS in front of a service; requires user, password and tenant."""

    url: str
    refused: list[str] = field(default_factory=list)
    """The paths of requests that it refused."""


@contextmanager
def a_door(upstream: str, certificate: Certificate, path: str = "/api/prom") -> Iterator[Door]:
    expected = f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
    with httpx.Client(base_url=upstream, timeout=30) as client:

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = (self.headers.get("Authorization"), self.headers.get("X-Scope-OrgID"))
                if headers != (expected, TENANT) or not self.path.startswith(f"{path}/"):
                    door.refused.append(self.path)
                    status, content = 401, b"no"
                else:
                    if self.headers.get("Content-Encoding") == "gzip":
                        body = gzip.decompress(body)
                    kept = {"Content-Type": self.headers.get("Content-Type", "")}
                    target = self.path.removeprefix(path)
                    response = client.request(self.command, target, content=body, headers=kept)
                    status, content = response.status_code, response.content
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815 - the base class's names

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.socket = certificate.server_context().wrap_socket(server.socket, server_side=True)
        door = Door(f"https://127.0.0.1:{server.server_port}{path}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield door
        finally:
            server.shutdown()
            server.server_close()
