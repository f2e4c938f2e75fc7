"""Variables of the shell that are meant for other programs change nothing of the stack."""

import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import development
from lab.runs import generator
from lab.runs.environment import OtherCpu
from lab.runs.start import TargetError, check_target
from lab.stack import postgres
from lab.stack.config import StackConfig, claim
from lab.stack.inherited import base_environment
from lab.stack.modes import allow_reading, allow_traversal
from lab.stack.ports import free
from tests.support.fake_clinic import FakeClinic
from tests.support.programs import NOWHERE, ask

SPEAK = r"""
from lab import cli, console

@cli.cli.command()
def speak():
    console.echo("\u2713 Due\u00f1o")
    console.make_console().print("\u2500 \u00d7")

cli.main()
"""
DEAD_PROXY = "http://127.0.0.1:9"
PROXIES = [
    {"HTTP_PROXY": DEAD_PROXY},
    {"http_proxy": DEAD_PROXY, "NO_PROXY": "localhost"},
    {"ALL_PROXY": "socks5://127.0.0.1:1080", "NO_PROXY": "127.0.0.0/8"},
    {"all_proxy": "socks5h://127.0.0.1:1080", "no_proxy": "127.*"},
    {"HTTP_PROXY": "proxy:3128", "NO_PROXY": "localhost,[::1]"},
    {"HTTP_PROXY": "nonsense://", "NO_PROXY": "fe80::/10,127.0.0.1"},
    {"HTTP_PROXY": "http://user:pa ss@:x", "NO_PROXY": "*"},
]
POSTGRES = {
    "PGDATABASE": "elsewhere",
    "PGHOSTADDR": "192.0.2.1",
    "PGOPTIONS": "-c nonsense=1",
    "PGPASSFILE": "/nonexistent",
    "PGSERVICE": "elsewhere",
    "PGSSLMODE": "verify-full",
    "PGTARGETSESSIONATTRS": "standby",
    "PGTZ": "nowhere",
    "DATA_SOURCE_NAME": "postgresql://elsewhere",
    "GF_SERVER_HTTP_PORT": "1",
}


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("proxies", PROXIES)
def test_a_command_reaches_what_is_on_this_machine_past_any_proxy(proxies: dict[str, str]) -> None:
    with FakeClinic(ready=503) as clinic:
        run = ask(NOWHERE, NOWHERE, "run", "smoke", BASE_URL=clinic.url, **proxies)
        runs = ask(clinic.url, NOWHERE, "runs", **proxies)

    assert "GET /readyz returned 503" in run.stderr
    assert clinic.requests
    assert "Traceback" not in run.stderr + runs.stderr


@pytest.mark.parametrize("proxies", PROXIES)
def test_services_inherit_the_proxies_and_that_this_machine_needs_none(
    shell: pytest.MonkeyPatch, proxies: dict[str, str]
) -> None:
    for name, value in proxies.items():
        shell.setenv(name, value)

    environment = base_environment()

    given = proxies.get("NO_PROXY") or proxies.get("no_proxy") or ""
    assert environment["NO_PROXY"] == environment["no_proxy"]
    names = environment["NO_PROXY"].split(",")
    assert {"127.0.0.1", "localhost", "::1", *filter(None, given.split(","))} <= set(names)


def test_both_spellings_of_no_proxy_count(shell: pytest.MonkeyPatch) -> None:
    shell.setenv("NO_PROXY", "a.example")
    shell.setenv("no_proxy", "b.example")

    assert {"a.example", "b.example"} <= set(base_environment()["no_proxy"].split(","))


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "proxy:3128", "nonsense"])
def test_k6_alone_uses_a_proxy_to_a_remote_target(shell: pytest.MonkeyPatch, proxy: str) -> None:
    shell.setenv("https_proxy", proxy)

    check_target("https://clinic.invalid", confirmed=True)

    with pytest.raises(TargetError, match="does not answer"):
        check_target("http://clinic.invalid", confirmed=True)


def test_services_do_not_inherit_variables_of_their_programs(shell: pytest.MonkeyPatch) -> None:
    for name, value in POSTGRES.items():
        shell.setenv(name, value)

    assert not base_environment().keys() & POSTGRES.keys()


@pytest.mark.stack
def test_postgresql_is_set_up_and_starts_whatever_its_variables_are(
    shell: pytest.MonkeyPatch, passable_dir: Path
) -> None:
    hostile = {"PGDATESTYLE": "nonsense", "PGCLIENTENCODING": "EBCDIC", "TZ": "America/Santiago"}
    for name, value in {**POSTGRES, **hostile}.items():
        shell.setenv(name, value)
    config = StackConfig(passable_dir / "state", postgres_port=free())
    claim(config.state)

    postgres.prepare(config)
    user = postgres.user()
    with subprocess.Popen(
        postgres.command(config),
        env=base_environment(),
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        cwd="/",
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            deadline = time.monotonic() + 60
            while not postgres.ready(config.postgres_port) and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            server.send_signal(signal.SIGINT)
            _, log = server.communicate()

    assert "ready to accept connections" in log, log
    assert server.returncode == 0, log
    assert " UTC " in log.splitlines()[0]


def test_psql_gets_the_stacks_address_alone(shell: pytest.MonkeyPatch) -> None:
    executed: list[dict[str, str]] = []
    shell.setattr(os, "execve", lambda _path, _words, environment: executed.append(environment))
    for name, value in POSTGRES.items():
        shell.setenv(name, value)

    development.open_psql("postgresql+asyncpg://clinic:se%2Fcret@127.0.0.1:5433/clinic", ())

    (environment,) = executed
    libpq = {name: value for name, value in environment.items() if name.startswith("PG")}
    assert libpq == {
        "PGHOST": "127.0.0.1",
        "PGPORT": "5433",
        "PGUSER": "clinic",
        "PGPASSWORD": "se/cret",
        "PGDATABASE": "clinic",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "never"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ],
)
def test_the_generators_own_metrics_ignore_the_apis_settings(
    shell: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    shell.setenv(name, value)
    with FakeClinic(override=lambda _: (200, {})) as receiver:
        other_cpu = OtherCpu(StackConfig(tmp_path))
        with generator.observe(
            f"{receiver.url}/v1/metrics", "a-run", lambda: [os.getpid()], other_cpu
        ):
            pass

    assert [request.path for request in receiver.requests if request.method == "POST"]
    assert os.environ[name] == value


@pytest.mark.parametrize(
    "locale",
    [
        {"LANG": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1", "TZ": "Nowhere/Nothing"},
    ],
)
def test_a_command_prints_in_any_locale(locale: dict[str, str]) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    printed = subprocess.run(
        [sys.executable, "-c", SPEAK, "speak"],
        env=outside | locale,
        capture_output=True,
        check=False,
    )

    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith(("✓".encode(), b"?"))
    assert len(printed.stdout.splitlines()) == 2


def test_files_of_a_checkout_with_a_strict_umask_become_readable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "private" / "installed"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "postgres").write_text("")
    (folder / "share").write_text("")
    for path, mode in {"bin/postgres": 0o700, "share": 0o600, "bin": 0o700, "": 0o700}.items():
        (folder / path).chmod(mode)
    (tmp_path / "private").chmod(0o700)

    allow_traversal(folder, "another user")
    allow_reading(folder, "another user")
    allow_reading(folder, "another user")

    modes = {
        path: (folder / path).stat().st_mode & 0o777 for path in ("bin/postgres", "share", "bin")
    }
    assert modes == {"bin/postgres": 0o705, "share": 0o604, "bin": 0o705}
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o701
    assert capsys.readouterr().err.count("chmod -R o+rX") == 1


@pytest.mark.parametrize("command", ["schema", "--help"])  # more than a pipe holds, and less
def test_a_closed_pipe_ends_a_command_without_a_message(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "lab", command],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)

    assert ended.returncode == 1
    assert ended.stderr == b""


def test_a_user_without_a_home_folder_can_run_commands(
    shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    shell.setattr(Path, "home", no_home)

    claim(tmp_path / "state")

    assert (tmp_path / "state").is_dir()


@pytest.mark.parametrize("home", ["/proc", "/nonexistent"])
def test_a_home_folder_that_cannot_be_written_stops_no_command(home: str) -> None:
    runs = ask(NOWHERE, NOWHERE, "runs", HOME=home, XDG_CACHE_HOME="")

    assert runs.returncode == 0, runs.stderr
    assert "Traceback" not in runs.stderr
