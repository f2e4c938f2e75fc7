"""Generated requests against a real API and its OpenAPI document, with and without a token."""

import os
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx

from clinic.settings import Settings
from lab.paths import PROJECT
from lab.stack.config import HOST
from lab.stack.ports import free as free_port
from tests.support.clinic import as_api, migrated_database

TOKEN = "correct-horse-battery"
CASES = re.compile(r"(\d+) generated")


class Result(NamedTuple):
    cases: int
    passed: bool
    output: str


@contextmanager
def serving(settings: Settings, token: str | None) -> Iterator[str]:
    """Run the API, without an OTLP receiver, and return its URL when it is ready."""
    port = free_port()
    env = {
        "CLINIC_DATABASE_URL": as_api(settings).database_url,
        "CLINIC_PORT": str(port),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{free_port()}",
        **({"CLINIC_API_TOKEN": token} if token else {}),
    }
    command = [sys.executable, "-m", "clinic"]
    api = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(f"http://{HOST}:{port}")
        yield f"http://{HOST}:{port}"
    finally:
        api.terminate()
        api.wait(30)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}/readyz", trust_env=False).raise_for_status()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def abuse(settings: Settings, token: str | None, *options: str) -> Result:
    """Run Schemathesis with all checks."""
    with serving(settings, token) as url, TemporaryDirectory() as folder:
        command = [
            "schemathesis",
            "run",
            f"{url}/schema/openapi.json",
            "--checks=all",
        ]
        if token:
            command += ["--header", f"Authorization: Bearer {token}"]
        run = subprocess.run(
            [*command, f"--report-dir={folder}", "--no-color", "--continue-on-failure", *options],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=False,
        )
    cases = CASES.search(run.stdout)
    return Result(int(cases[1]) if cases else 0, run.returncode == 0, run.stdout + run.stderr)


def main() -> int:
    parser = ArgumentParser(prog="just abuse", description=__doc__)
    parser.add_argument("--max-examples", default="400", help="per operation (default: 400)")
    parser.add_argument("--seed", help="repeat an earlier run")
    arguments = parser.parse_args()
    options = [f"--max-examples={arguments.max_examples}"]
    if arguments.seed:
        options.append(f"--seed={arguments.seed}")
    results = []
    with migrated_database() as settings:
        for token in (None, TOKEN):
            results.append(abuse(settings, token, *options))
            sys.stdout.write(results[-1].output)
    sys.stdout.write(f"{sum(result.cases for result in results)} requests in all\n")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
