"""The parts of the bundle: what each runs, where it listens, how it shows that it is ready."""

import os
import shutil
import sys
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib.metadata import version as installed
from json import dumps, loads
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from observability.bundle import HOST, PROJECT, Bundle, BundleError
from observability.native import ports, postgres, tools
from observability.native.programs import say

OBSERVABILITY = PROJECT / "observability"
PROMETHEUS_FOLDER = OBSERVABILITY / "prometheus"
ALERTMANAGER_FOLDER = OBSERVABILITY / "alertmanager"
GRAFANA_FOLDER = OBSERVABILITY / "grafana"
READY_TIMEOUT = 3


@dataclass(frozen=True)
class Part:
    """One program of the bundle, as the supervisor runs it."""

    name: str
    version: str
    address: str
    health: str
    """A URL that answers 200 when the part is ready, or postgresql:PORT."""
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = str(PROJECT)
    user: str = ""
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    start_seconds: int = 60

    def ready(self) -> bool:
        kind, _, port = self.health.partition(":")
        if kind == "postgresql":
            return postgres.ready(int(port))
        address = urlsplit(self.health)
        connection = HTTPConnection(address.netloc, timeout=READY_TIMEOUT)
        try:
            connection.request("GET", address.path)
            return connection.getresponse().status == HTTPStatus.OK
        except (HTTPException, OSError):
            return False
        finally:
            connection.close()


def listens_on(bundle: Bundle) -> dict[str, int]:
    """Name the ports that the bundle will listen on, by the variable that changes each."""
    taken = {
        "POSTGRES_PORT": bundle.postgres_port,
        "PROMETHEUS_PORT": bundle.prometheus_port,
        "TRACES_PORT": bundle.traces_port,
        "OTLP_PORT": bundle.otlp_port,
        "ALERTMANAGER_PORT": bundle.alertmanager_port,
        "CLINIC_PORT": bundle.clinic_port,
    }
    if shutil.which("grafana"):
        taken["GRAFANA_PORT"] = bundle.grafana_port
    return taken


def assemble(bundle: Bundle) -> list[Part]:
    """List the parts in the order of their start, finding or building every program."""
    prometheus = tools.find("prometheus")
    traces, scraped = trace_store(bundle)
    alertmanager = tools.find("alertmanager")
    notices_port = ports.free()
    grafana = tools.find_on_path("grafana")
    parts = [
        postgres_part(bundle),
        prometheus_part(bundle, prometheus),
        traces,
        notices_part(bundle, notices_port),
        alertmanager_part(bundle, alertmanager),
        *([grafana_part(bundle, grafana)] if grafana else []),
        api_part(bundle),
    ]
    write_targets(bundle, traces.name, scraped, notices_port)
    write_alertmanager_config(bundle, notices_port)
    return parts


def postgres_part(bundle: Bundle) -> Part:
    return Part(
        "postgres",
        postgres.version(),
        f"{HOST}:{bundle.postgres_port}",
        f"postgresql:{bundle.postgres_port}",
        postgres.command(bundle),
        user=postgres.user() or "",
        stop_signal="INT",  # its fast shutdown; TERM waits for every client to leave
        stop_seconds=30,
    )


def prometheus_config(bundle: Bundle) -> Path:
    """Say where the repository's configuration stands beside the native targets."""
    return bundle.state / "prometheus" / "config" / "prometheus.yml"


def write_targets(bundle: Bundle, store: str, scraped: str, notices_port: int) -> None:
    """Set the repository's own files beside the native targets: Prometheus expands no variables."""
    folder = prometheus_config(bundle).parent
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "targets").mkdir(parents=True)
    for name in ("prometheus.yml", "rules"):
        (folder / name).symlink_to(PROMETHEUS_FOLDER / name)
    targets = {
        "prometheus": {"prometheus": f"{HOST}:{bundle.prometheus_port}"},
        "traces": {store: scraped},
        "alertmanager": {"alertmanager": f"{HOST}:{bundle.alertmanager_port}"},
        "notices": {"notices": f"{HOST}:{notices_port}"},
    }
    for file, addresses in targets.items():
        groups = [
            {"targets": [address], "labels": {"instance": instance}}
            for instance, address in addresses.items()
        ]
        (folder / "targets" / f"{file}.yml").write_text(yaml.safe_dump(groups))


def prometheus_part(bundle: Bundle, program: Path) -> Part:
    return Part(
        "prometheus",
        tools.version_text("prometheus", program),
        bundle.prometheus_url,
        f"{bundle.prometheus_url}/-/ready",
        (
            str(program),
            f"--config.file={prometheus_config(bundle)}",
            f"--storage.tsdb.path={bundle.state / 'prometheus' / 'data'}",
            f"--web.listen-address={HOST}:{bundle.prometheus_port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-otlp-receiver",
            "--enable-feature=exemplar-storage",
        ),
        {"GOMEMLIMIT": "400MiB"},
        stop_seconds=30,
        start_seconds=120,  # a long write-ahead log is replayed first
    )


def trace_store(bundle: Bundle) -> tuple[Part, str]:
    """Choose the trace store, Tempo or else Jaeger, and say where its own metrics are scraped."""
    tempo = tools.find_on_path("tempo")
    if tempo:
        return tempo_part(bundle, tempo), f"{HOST}:{bundle.traces_port}"
    say(f"Tempo {tools.oldest('tempo')} or newer is not on PATH: Jaeger stores the traces.")
    metrics_port = ports.free()
    part = jaeger_part(bundle, tools.find("jaeger"), metrics_port)
    return part, f"{HOST}:{metrics_port}"


def tempo_part(bundle: Bundle, program: Path) -> Part:
    return Part(
        "tempo",
        tools.version_text("tempo", program),
        bundle.traces_url,
        f"{bundle.traces_url}/ready",
        (
            str(program),
            f"-config.file={OBSERVABILITY / 'tempo' / 'tempo.yaml'}",
            "-config.expand-env=true",
        ),
        {
            "GOMEMLIMIT": "400MiB",
            "PROMETHEUS_WRITE_URL": bundle.remote_write_url,
            "TEMPO_DATA": str(bundle.state / "tempo"),
            "TEMPO_GRPC_PORT": str(ports.free()),
            "TEMPO_HOST": HOST,
            "TEMPO_OTLP_PORT": str(bundle.otlp_port),
            "TEMPO_PORT": str(bundle.traces_port),
        },
        stop_seconds=8,  # 3.0.3 never ends after a recent query; all is on disk in the first second
    )


def jaeger_part(bundle: Bundle, program: Path, metrics_port: int) -> Part:
    health_port = ports.free()
    return Part(
        "jaeger",
        tools.version_text("jaeger", program),
        bundle.traces_url,
        f"http://{HOST}:{health_port}/status",
        (str(program), "--config", str(OBSERVABILITY / "native" / "jaeger.yaml")),
        {
            "GOMEMLIMIT": "400MiB",
            "JAEGER_DATA": str(bundle.state / "jaeger"),
            "JAEGER_HEALTH_PORT": str(health_port),
            "JAEGER_METRICS_PORT": str(metrics_port),
            "JAEGER_OTLP_PORT": str(bundle.otlp_port),
            "JAEGER_QUERY_PORT": str(bundle.traces_port),
            "OTEL_TRACES_SAMPLER": "always_off",  # else it traces itself, to nobody, when it stops
            "PROMETHEUS_OTLP_URL": bundle.otlp_metrics_endpoint,
        },
    )


def notices_file(bundle: Bundle) -> Path:
    return bundle.state / "alerts" / "notices.jsonl"


def notices_part(bundle: Bundle, port: int) -> Part:
    return Part(
        "notices",
        installed("vet-clinic"),
        str(notices_file(bundle)),
        f"http://{HOST}:{port}/healthz",
        (sys.executable, "-m", "observability.notices.receiver"),
        {
            "NOTICES_FILE": str(notices_file(bundle)),
            "NOTICES_HOST": HOST,
            "NOTICES_PORT": str(port),
        },
    )


def alertmanager_config(bundle: Bundle) -> Path:
    """Say where the repository's configuration stands beside the address of the notices."""
    return bundle.state / "alertmanager" / "config" / "alertmanager.yml"


def write_alertmanager_config(bundle: Bundle, notices_port: int) -> None:
    """Set the repository's own files beside the native address: Alertmanager expands nothing."""
    folder = alertmanager_config(bundle).parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in ALERTMANAGER_FOLDER.iterdir():
        (folder / file.name).symlink_to(file)
    address = folder / "notices-url"
    address.unlink()
    address.write_text(f"http://{HOST}:{notices_port}/\n")


def alertmanager_part(bundle: Bundle, program: Path) -> Part:
    return Part(
        "alertmanager",
        tools.version_text("alertmanager", program),
        bundle.alertmanager_url,
        f"{bundle.alertmanager_url}/-/ready",
        (
            str(program),
            f"--config.file={alertmanager_config(bundle)}",
            f"--storage.path={bundle.state / 'alertmanager' / 'data'}",
            f"--web.listen-address={HOST}:{bundle.alertmanager_port}",
            "--cluster.listen-address=",
        ),
        {"GOMEMLIMIT": "100MiB"},
        folder=str(alertmanager_config(bundle).parent),  # whence it reads the files it names
    )


def grafana_part(bundle: Bundle, program: Path) -> Part:
    state = bundle.state / "grafana"
    return Part(
        "grafana",
        tools.version_text("grafana", program),
        bundle.grafana_url,
        f"{bundle.grafana_url}/api/health",
        (str(program), "server", f"--homepath={grafana_home(program)}"),
        {
            **grafana_settings(),
            "ALERTMANAGER_URL": bundle.alertmanager_url,
            "DASHBOARDS_FOLDER": str(GRAFANA_FOLDER / "dashboards"),
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(
                GRAFANA_FOLDER / "dashboards" / "home.json"
            ),
            "GF_LOG_MODE": "console",
            "GF_PATHS_DATA": str(state),
            "GF_PATHS_LOGS": str(state / "logs"),
            "GF_PATHS_PLUGINS": str(state / "plugins"),
            "GF_PATHS_PROVISIONING": str(GRAFANA_FOLDER / "provisioning"),
            "GF_SERVER_HTTP_ADDR": HOST,
            "GF_SERVER_HTTP_PORT": str(bundle.grafana_port),
            "GF_SERVER_ROOT_URL": f"{bundle.grafana_url}/",
            "GOMEMLIMIT": "320MiB",
            "PROMETHEUS_URL": bundle.prometheus_url,
            "TEMPO_URL": bundle.traces_url,
        },
    )


def grafana_home(program: Path) -> Path:
    """Find the folder of Grafana's own files: beside an unpacked archive's program, or shared."""
    prefix = program.resolve().parents[1]
    places = (prefix, prefix / "share" / "grafana", Path("/usr/share/grafana"))
    home = next((place for place in places if (place / "conf" / "defaults.ini").exists()), None)
    if home is None:
        raise BundleError(
            f"The files of {program} are not found: conf/defaults.ini is in none of "
            f"{', '.join(map(str, places))}. Take Grafana off PATH, or put all of it there."
        )
    return home


def grafana_settings() -> dict[str, str]:
    """Read the settings that Grafana has in containers too."""
    lines = (GRAFANA_FOLDER / "grafana.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def api_part(bundle: Bundle) -> Part:
    return Part(
        "api",
        installed("vet-clinic"),
        bundle.api_url,
        f"{bundle.api_url}/readyz",
        (sys.executable, "-m", "clinic"),
        api_environment(bundle),
    )


def api_environment(bundle: Bundle) -> dict[str, str]:
    """Give the API its addresses; telemetry settings that the user made stand."""
    telemetry = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": bundle.otlp_metrics_endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": bundle.otlp_traces_endpoint,
    }
    return {
        "CLINIC_DATABASE_URL": bundle.database_url,
        "CLINIC_HOST": HOST,
        "CLINIC_PORT": str(bundle.clinic_port),
        **{name: value for name, value in telemetry.items() if name not in os.environ},
    }


def save(parts: list[Part], bundle: Bundle) -> None:
    """Keep what was started, without its secrets, for the commands that come later."""
    kept = [{**asdict(part), "environment": {}} for part in parts]
    parts_file(bundle).write_text(dumps(kept, indent=2) + "\n")


def saved(bundle: Bundle) -> list[Part]:
    kept = loads(parts_file(bundle).read_text())
    return [Part(**{**part, "command": tuple(part["command"])}) for part in kept]


def parts_file(bundle: Bundle) -> Path:
    return bundle.state / "parts.json"
