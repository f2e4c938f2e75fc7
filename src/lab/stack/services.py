"""The parts of the stack: what each runs, where it listens, how it shows that it is ready."""

import os
import re
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

from lab.console import say
from lab.errors import UserError
from lab.paths import OBSERVABILITY, PROJECT
from lab.stack import ports, postgres, programs
from lab.stack.config import HOST, StackConfig

PROMETHEUS_FOLDER = OBSERVABILITY / "prometheus"
ALERTMANAGER_FOLDER = OBSERVABILITY / "alertmanager"
GRAFANA_FOLDER = OBSERVABILITY / "grafana"
READY_TIMEOUT = 3
# Its collectors need cgo on macOS, and the stack's programs are built without.
NODE_EXPORTER_RUNS = sys.platform == "linux"


@dataclass(frozen=True)
class Service:
    """One program of the stack, as the supervisor runs it."""

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


def listening_ports(config: StackConfig) -> dict[str, int]:
    """Name the ports that the stack will listen on, by the variable that changes each."""
    taken = {
        "POSTGRES_PORT": config.postgres_port,
        "PROMETHEUS_PORT": config.prometheus_port,
        "TRACES_PORT": config.traces_port,
        "OTLP_PORT": config.otlp_port,
        "ALERTMANAGER_PORT": config.alertmanager_port,
        "CLINIC_PORT": config.clinic_port,
    }
    if shutil.which("grafana"):
        taken["GRAFANA_PORT"] = config.grafana_port
    return taken


def assemble(config: StackConfig) -> list[Service]:
    """List the parts in the order of their start, finding or building every program."""
    prometheus = programs.find("prometheus")
    traces, scraped = trace_store(config)
    alertmanager = programs.find("alertmanager")
    notifications_port = ports.free()
    node_port = ports.free()
    grafana = programs.find_on_path("grafana")
    services = [
        postgres_service(config),
        prometheus_service(config, prometheus),
        traces,
        notifications_service(config, notifications_port),
        alertmanager_service(config, alertmanager),
        *([node_exporter_service(config, node_port)] if NODE_EXPORTER_RUNS else []),
        *([grafana_service(config, grafana)] if grafana else []),
        api_service(config),
    ]
    write_targets(config, traces.name, scraped, notifications_port, node_port)
    write_alertmanager_config(config, notifications_port)
    return services


def postgres_service(config: StackConfig) -> Service:
    return Service(
        "postgres",
        postgres.version(),
        f"{HOST}:{config.postgres_port}",
        f"postgresql:{config.postgres_port}",
        postgres.command(config),
        user=postgres.user() or "",
        stop_signal="INT",  # its fast shutdown; TERM waits for every client to leave
        stop_seconds=30,
    )


def prometheus_config(config: StackConfig) -> Path:
    """Say where the repository's configuration stands beside the native targets."""
    return config.state / "prometheus" / "config" / "prometheus.yml"


def write_targets(
    config: StackConfig, store: str, scraped: str, notifications_port: int, node_port: int
) -> None:
    """Set the repository's own files beside the native targets: Prometheus expands no variables."""
    folder = prometheus_config(config).parent
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "targets").mkdir(parents=True)
    for name in ("prometheus.yml", "rules"):
        (folder / name).symlink_to(PROMETHEUS_FOLDER / name)
    targets = {
        "prometheus": {"prometheus": f"{HOST}:{config.prometheus_port}"},
        "traces": {store: scraped},
        "alertmanager": {"alertmanager": f"{HOST}:{config.alertmanager_port}"},
        "notifications": {"notifications": f"{HOST}:{notifications_port}"},
        "node": {"node": f"{HOST}:{node_port}"} if NODE_EXPORTER_RUNS else {},
    }
    for file, addresses in targets.items():
        groups = [
            {"targets": [address], "labels": {"instance": instance}}
            for instance, address in addresses.items()
        ]
        (folder / "targets" / f"{file}.yml").write_text(yaml.safe_dump(groups))


def prometheus_service(config: StackConfig, program: Path) -> Service:
    return Service(
        "prometheus",
        programs.version_text("prometheus", program),
        config.prometheus_url,
        f"{config.prometheus_url}/-/ready",
        (
            str(program),
            f"--config.file={prometheus_config(config)}",
            f"--storage.tsdb.path={config.state / 'prometheus' / 'data'}",
            f"--web.listen-address={HOST}:{config.prometheus_port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-otlp-receiver",
            "--enable-feature=exemplar-storage",
        ),
        {"GOMEMLIMIT": "400MiB"},
        stop_seconds=30,
        start_seconds=120,  # a long write-ahead log is replayed first
    )


def trace_store(config: StackConfig) -> tuple[Service, str]:
    """Choose the trace store, Tempo or else Jaeger, and say where its own metrics are scraped."""
    tempo = programs.find_on_path("tempo")
    if tempo:
        return tempo_service(config, tempo), f"{HOST}:{config.traces_port}"
    say(f"Tempo {programs.oldest('tempo')} or newer is not on PATH: Jaeger stores the traces.")
    metrics_port = ports.free()
    service = jaeger_service(config, programs.find("jaeger"), metrics_port)
    return service, f"{HOST}:{metrics_port}"


def tempo_service(config: StackConfig, program: Path) -> Service:
    return Service(
        "tempo",
        programs.version_text("tempo", program),
        config.traces_url,
        f"{config.traces_url}/ready",
        (
            str(program),
            f"-config.file={OBSERVABILITY / 'tempo' / 'tempo.yaml'}",
            "-config.expand-env=true",
        ),
        {
            "GOMEMLIMIT": "400MiB",
            "PROMETHEUS_WRITE_URL": config.remote_write_url,
            "TEMPO_DATA": str(config.state / "tempo"),
            "TEMPO_GRPC_PORT": str(ports.free()),
            "TEMPO_HOST": HOST,
            "TEMPO_OTLP_PORT": str(config.otlp_port),
            "TEMPO_PORT": str(config.traces_port),
        },
        stop_seconds=8,  # 3.0.3 never ends after a recent query; all is on disk in the first second
    )


def jaeger_service(config: StackConfig, program: Path, metrics_port: int) -> Service:
    health_port = ports.free()
    return Service(
        "jaeger",
        programs.version_text("jaeger", program),
        config.traces_url,
        f"http://{HOST}:{health_port}/status",
        (str(program), "--config", str(OBSERVABILITY / "jaeger" / "jaeger.yaml")),
        {
            "GOMEMLIMIT": "400MiB",
            "JAEGER_DATA": str(config.state / "jaeger"),
            "JAEGER_HEALTH_PORT": str(health_port),
            "JAEGER_METRICS_PORT": str(metrics_port),
            "JAEGER_OTLP_PORT": str(config.otlp_port),
            "JAEGER_QUERY_PORT": str(config.traces_port),
            "OTEL_TRACES_SAMPLER": "always_off",  # else it traces itself, to nobody, when it stops
            "PROMETHEUS_OTLP_URL": config.otlp_metrics_endpoint,
        },
    )


def notifications_file(config: StackConfig) -> Path:
    return config.state / "alerts" / "notifications.jsonl"


def notifications_service(config: StackConfig, port: int) -> Service:
    return Service(
        "notifications",
        installed("vet-clinic"),
        str(notifications_file(config)),
        f"http://{HOST}:{port}/healthz",
        (sys.executable, "-m", "lab.notifications"),
        {
            "NOTIFICATIONS_FILE": str(notifications_file(config)),
            "NOTIFICATIONS_HOST": HOST,
            "NOTIFICATIONS_PORT": str(port),
        },
    )


def alertmanager_config(config: StackConfig) -> Path:
    """Say where the repository's configuration stands beside the address of the notifications."""
    return config.state / "alertmanager" / "config" / "alertmanager.yml"


def write_alertmanager_config(config: StackConfig, notifications_port: int) -> None:
    """Set the repository's own files beside the native address: Alertmanager expands nothing."""
    folder = alertmanager_config(config).parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in ALERTMANAGER_FOLDER.iterdir():
        (folder / file.name).symlink_to(file)
    address = folder / "notifications-url"
    address.unlink()
    address.write_text(f"http://{HOST}:{notifications_port}/\n")


def alertmanager_service(config: StackConfig, program: Path) -> Service:
    return Service(
        "alertmanager",
        programs.version_text("alertmanager", program),
        config.alertmanager_url,
        f"{config.alertmanager_url}/-/ready",
        (
            str(program),
            f"--config.file={alertmanager_config(config)}",
            f"--storage.path={config.state / 'alertmanager' / 'data'}",
            f"--web.listen-address={HOST}:{config.alertmanager_port}",
            "--cluster.listen-address=",
        ),
        {"GOMEMLIMIT": "100MiB"},
        folder=str(alertmanager_config(config).parent),  # whence it reads the files it names
    )


def node_exporter_service(config: StackConfig, port: int) -> Service:
    """Measure this machine, and of its filesystems only the one that holds the stack's data."""
    program = programs.find("node_exporter")
    return Service(
        "node-exporter",
        programs.version_text("node_exporter", program),
        f"http://{HOST}:{port}/metrics",
        f"http://{HOST}:{port}/",
        (
            str(program),
            "--collector.disable-defaults",
            "--collector.cpu",
            "--collector.filesystem",
            "--collector.loadavg",
            "--collector.meminfo",
            "--collector.pressure",
            # An overlay, the root of a container, is among the excluded types by default.
            "--collector.filesystem.fs-types-exclude=^$",
            f"--collector.filesystem.mount-points-include=^{re.escape(mount_point(config.state))}$",
            f"--web.listen-address={HOST}:{port}",
        ),
    )


def mount_point(folder: Path) -> str:
    """Name the mount point of the filesystem that holds a folder."""
    return str(next(path for path in (folder, *folder.parents) if path.is_mount()))


def grafana_service(config: StackConfig, program: Path) -> Service:
    state = config.state / "grafana"
    return Service(
        "grafana",
        programs.version_text("grafana", program),
        config.grafana_url,
        f"{config.grafana_url}/api/health",
        (str(program), "server", f"--homepath={grafana_home(program)}"),
        {
            **grafana_settings(),
            "ALERTMANAGER_URL": config.alertmanager_url,
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
            "GF_SERVER_HTTP_PORT": str(config.grafana_port),
            "GF_SERVER_ROOT_URL": f"{config.grafana_url}/",
            "GOMEMLIMIT": "320MiB",
            "PROMETHEUS_URL": config.prometheus_url,
            "TEMPO_URL": config.traces_url,
        },
    )


def grafana_home(program: Path) -> Path:
    """Find the folder of Grafana's own files: beside an unpacked archive's program, or shared."""
    prefix = program.resolve().parents[1]
    places = (prefix, prefix / "share" / "grafana", Path("/usr/share/grafana"))
    home = next((place for place in places if (place / "conf" / "defaults.ini").exists()), None)
    if home is None:
        raise UserError(
            f"The files of {program} are not found: conf/defaults.ini is in none of "
            f"{', '.join(map(str, places))}. Take Grafana off PATH, or put all of it there."
        )
    return home


def grafana_settings() -> dict[str, str]:
    """Read the settings that Grafana has in containers too."""
    lines = (GRAFANA_FOLDER / "grafana.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def api_service(config: StackConfig) -> Service:
    return Service(
        "api",
        installed("vet-clinic"),
        config.api_url,
        f"{config.api_url}/readyz",
        (sys.executable, "-m", "clinic"),
        api_environment(config),
    )


def api_environment(config: StackConfig) -> dict[str, str]:
    """Give the API its addresses; telemetry settings that the user made stand."""
    telemetry = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": config.otlp_metrics_endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": config.otlp_traces_endpoint,
    }
    return {
        "CLINIC_DATABASE_URL": config.database_url,
        "CLINIC_HOST": HOST,
        "CLINIC_PORT": str(config.clinic_port),
        **{name: value for name, value in telemetry.items() if name not in os.environ},
    }


def save(services: list[Service], config: StackConfig) -> None:
    """Keep what was started, without its secrets, for the commands that come later."""
    kept = [{**asdict(service), "environment": {}} for service in services]
    services_file(config).write_text(dumps(kept, indent=2) + "\n")


def saved(config: StackConfig) -> list[Service]:
    kept = loads(services_file(config).read_text())
    return [Service(**{**service, "command": tuple(service["command"])}) for service in kept]


def services_file(config: StackConfig) -> Path:
    return config.state / "parts.json"
