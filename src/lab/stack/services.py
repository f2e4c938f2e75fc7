"""The services of the native stack: what each runs, where it listens, when it is ready."""

import json
import os
import re
import shutil
import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import yaml

from lab import credentials
from lab.clients import receivers
from lab.clients.endpoint import TENANT_HEADER, Endpoint, remote_endpoint
from lab.errors import UserError
from lab.paths import OBSERVABILITY, PROJECT, RESULTS_VARIABLE, results_folder
from lab.promql.selectors import SERVICE
from lab.stack import compose, postgres, programs
from lab.stack.config import API_ROLE, HOST, REPLICAS_VARIABLE, STATE_VARIABLE, StackConfig
from lab.stack.inherited import API_PREFIXES
from lab.stack.service import InternalPorts, Service, digest, digests

PROMETHEUS_FOLDER = OBSERVABILITY / "prometheus"
ALERTMANAGER_FOLDER = OBSERVABILITY / "alertmanager"
GRAFANA_FOLDER = OBSERVABILITY / "grafana"
# node_exporter's collectors need cgo on macOS, and the stack's programs are built without it.
NODE_EXPORTER_RUNS = sys.platform == "linux"
FORWARDING = "JAEGER_FORWARDING"
API = "api"
SHARED_PORT = "CLINIC_SHARED_PORT"
LAB_VARIABLES = (STATE_VARIABLE, RESULTS_VARIABLE, REPLICAS_VARIABLE, SHARED_PORT)


def listening_ports(config: StackConfig) -> dict[str, int]:
    """Return the ports that the stack listens on, by the variables that set them."""
    return {
        name: port
        for name, port in config.ports.items()
        if name != "GRAFANA_PORT" or shutil.which("grafana")
    }


def assemble(config: StackConfig, internal: InternalPorts) -> list[Service]:
    """List the services in the order of their start; find or build every program."""
    if remote := remote_endpoint("REMOTE_WRITE"):
        receivers.check_remote_write(remote)
    tempo = programs.find_on_path("tempo")
    if remote := remote_endpoint("REMOTE_TRACES"):
        if tempo:
            raise UserError(
                "REMOTE_TRACES_URL is set, which only Jaeger honours, and Tempo is on PATH: unset "
                "it, or remove Tempo from PATH."
            )
        receivers.check_otlp(remote)
    grafana = programs.find_on_path("grafana")
    programs.build_missing(
        "k6",
        "prometheus",
        *([] if tempo else ["jaeger"]),
        "alertmanager",
        *(["node_exporter"] if NODE_EXPORTER_RUNS else []),
        "postgres_exporter",
    )
    credentials.write(config.credentials)
    traces = tempo_service(config, internal, tempo) if tempo else jaeger_service(config, internal)
    write_prometheus_config(config, internal, traces.name)
    write_alertmanager_config(config, internal)
    return [
        postgres_service(config),
        gateway_service(config, internal, traces.name),
        prometheus_service(config, internal),
        traces,
        notifications_service(config, internal),
        alertmanager_service(config, internal),
        *([node_exporter_service(config, internal)] if NODE_EXPORTER_RUNS else []),
        postgres_exporter_service(config, internal),
        postgres_sampler_service(config, internal),
        *([grafana_service(config, internal, grafana)] if grafana else []),
        *api_services(config, internal),
    ]


def postgres_service(config: StackConfig) -> Service:
    return Service(
        "postgres",
        postgres.version(),
        f"{HOST}:{config.postgres_port}",
        f"postgresql:{config.postgres_port}",
        postgres.command(config),
        user=postgres.user() or "",
        stop_signal="INT",  # the fast shutdown; TERM waits until every client has disconnected
        stop_seconds=compose.stop_seconds("postgres"),
    )


def gateway_service(config: StackConfig, internal: InternalPorts, store: str) -> Service:
    path = "/{traces-path}"
    upstreams = {
        "PROMETHEUS": (config.prometheus_port, internal.prometheus, ""),
        "ALERTMANAGER": (config.alertmanager_port, internal.alertmanager, ""),
        "TRACES": (config.traces_port, internal.traces, path if store == "tempo" else ""),
        "OTLP": (config.otlp_port, internal.otlp, path),
    }
    return Service(
        "gateway",
        installed("vet-clinic"),
        f"{HOST}:" + ",".join(str(port) for port, *_ in upstreams.values()),
        f"{config.prometheus_url}/gateway/healthz",
        (sys.executable, "-m", "lab.gateway"),
        {
            **{
                f"GATEWAY_{name}": f"{port}=http://{HOST}:{upstream}{path}"
                for name, (port, upstream, path) in upstreams.items()
            },
            "GATEWAY_ALLOWED_HOSTS": os.environ.get("CLINIC_ALLOWED_HOSTS", ""),
            "GATEWAY_HOST": HOST,
            "GATEWAY_SECRETS": str(config.credentials),
            "GATEWAY_TRACES_UI": "1" if store == "jaeger" else "",
        },
        digests(PROJECT / "src" / "lab" / "gateway.py"),
    )


def web_config(config: StackConfig) -> dict[str, str]:
    return {"--web.config.file": str(config.credentials / credentials.WEB_CONFIG)}


def prometheus_config(config: StackConfig) -> Path:
    return config.state / "prometheus" / "config" / "prometheus.yml"


def write_prometheus_config(config: StackConfig, internal: InternalPorts, store: str) -> None:
    """Write the configuration and the native targets beside a link to the rules.

    The configuration names its targets by relative paths, and Prometheus expands no variables.
    """
    folder = prometheus_config(config).parent
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    results_folder().mkdir(parents=True, exist_ok=True)
    link(folder / "rules", PROMETHEUS_FOLDER / "rules")
    text = prometheus_settings()
    prometheus_config(config).unlink(missing_ok=True)
    prometheus_config(config).write_text(text)
    metrics_port = config.traces_port if store == "tempo" else internal.jaeger_metrics
    targets = {
        "prometheus": {"prometheus": internal.prometheus},
        "traces": {store: metrics_port},
        "alertmanager": {"alertmanager": internal.alertmanager},
        "node": {"node": internal.node_exporter} if NODE_EXPORTER_RUNS else {},
        "postgres": {"postgres": internal.postgres_exporter},
        "postgres-sampler": {"postgres-sampler": internal.postgres_sampler},
    }
    for file, instances in targets.items():
        groups = [
            {"targets": [f"{HOST}:{port}"], "labels": {"instance": instance}}
            for instance, port in instances.items()
        ]
        (folder / "targets" / f"{file}.yml").write_text(yaml.safe_dump(groups))


def prometheus_settings() -> str:
    """Return Prometheus's configuration: the file in observability/, and where it forwards to."""
    text = (PROMETHEUS_FOLDER / "prometheus.yml").read_text()
    remote = remote_endpoint("REMOTE_WRITE")
    if not remote:
        return text
    auth: dict[str, Any] = {}
    if remote.password_file:
        file = str(remote.password_file)
        auth["basic_auth"] = {"username": remote.username, "password_file": file}
    if remote.token_file:
        auth["authorization"] = {"credentials_file": str(remote.token_file)}
    if remote.ca_file:
        auth["tls_config"] = {"ca_file": str(remote.ca_file)}
    if remote.tenant:
        auth["headers"] = {TENANT_HEADER: remote.tenant}
    # An external label, which is for the links of alerts only.
    without = {"regex": "dashboards", "action": "labeldrop"}
    target = {
        "name": "remote",
        "url": remote.url,
        **auth,
        "follow_redirects": False,
        "send_exemplars": True,
        "send_native_histograms": True,
        "write_relabel_configs": [without],
    }
    return text + "\n" + yaml.safe_dump({"remote_write": [target]}, sort_keys=False)


def prometheus_service(config: StackConfig, internal: InternalPorts) -> Service:
    program = programs.find("prometheus")
    native = {
        "--config.file": str(prometheus_config(config)),
        "--storage.tsdb.path": str(config.state / "prometheus" / "data"),
        **web_config(config),
        "--web.external-url": f"{config.prometheus_url}/",
        "--web.user-assets": str(results_folder()),
        "--web.console.templates": str(PROMETHEUS_FOLDER / "consoles"),
    }
    # Without Grafana, links to panels open the list of alerts, with their expressions.
    grafana = config.grafana_url if shutil.which("grafana") else f"{config.prometheus_url}/alerts#"
    return Service(
        "prometheus",
        programs.version_text("prometheus", program),
        config.prometheus_url,
        f"{config.prometheus_url}/-/ready",
        (
            str(program),
            *compose.flags("prometheus", native),
            f"--web.listen-address={HOST}:{internal.prometheus}",
        ),
        {"DASHBOARDS_URL": grafana, **compose.go_memory_limit("prometheus")},
        {
            **digests(PROMETHEUS_FOLDER / "rules"),
            "prometheus.yml": digest(prometheus_settings().encode()),
        },
        stop_seconds=compose.stop_seconds("prometheus"),
        start_seconds=120,  # a long write-ahead log is replayed first
    )


def with_start_time(command: tuple[str, ...]) -> tuple[str, ...]:
    """Tell a trace store when it starts, so that each start makes series of its own."""
    return ("sh", "-c", 'TRACE_STORE_START=$(date -u +%Y%m%dT%H%M%S) exec "$0" "$@"', *command)


def tempo_service(config: StackConfig, internal: InternalPorts, program: Path) -> Service:
    file = OBSERVABILITY / "tempo" / "tempo.yaml"
    return Service(
        "tempo",
        programs.version_text("tempo", program),
        config.traces_url,
        f"http://{HOST}:{internal.tempo_ready}/ready",
        with_start_time((str(program), *compose.flags("tempo", {"-config.file": str(file)}))),
        {
            **compose.go_memory_limit("tempo"),
            "PROMETHEUS_WRITE_URL": f"http://{HOST}:{internal.prometheus}/api/v1/write",
            # Tempo puts variables into its file before it reads that as YAML, in which the name of
            # a folder could mean something else: these two are relative to the state folder.
            "TEMPO_DATA": "tempo",
            "TEMPO_GRPC_PORT": str(internal.tempo_grpc),
            "TEMPO_HOST": HOST,
            "TEMPO_OTLP_PORT": str(internal.otlp),
            "TEMPO_PORT": str(internal.traces),
            "TEMPO_READY_PORT": str(internal.tempo_ready),
            "TRACES_PATH": read_credential(config, credentials.TRACES_PATH),
            "WEB_SECRETS": str(config.credentials.relative_to(config.state)),
        },
        digests(file),
        folder=str(config.state),
        stop_seconds=compose.stop_seconds("tempo"),
    )


def jaeger_service(config: StackConfig, internal: InternalPorts) -> Service:
    program = programs.find("jaeger")
    file = OBSERVABILITY / "jaeger" / "jaeger.yaml"
    remote = remote_endpoint("REMOTE_TRACES")
    forwarding = {FORWARDING: jaeger_forwarding(remote)} if remote else {}
    config_files = (str(file), *(f"env:{name}" for name in forwarding))
    return Service(
        "jaeger",
        programs.version_text("jaeger", program),
        config.traces_url,
        f"http://{HOST}:{internal.jaeger_health}/status",
        with_start_time((str(program), *(f"--config={it}" for it in config_files))),
        {
            **compose.go_memory_limit("tempo"),
            "JAEGER_DATA": str(config.state / "jaeger"),
            "JAEGER_HEALTH_PORT": str(internal.jaeger_health),
            "JAEGER_METRICS_PORT": str(internal.jaeger_metrics),
            "JAEGER_OTLP_PORT": str(internal.otlp),
            "JAEGER_QUERY_PORT": str(internal.traces),
            "OTEL_TRACES_SAMPLER": "always_off",  # otherwise it traces itself and has no exporter
            "PROMETHEUS_OTLP_URL": f"http://{HOST}:{internal.prometheus}/api/v1/otlp/v1/metrics",
            "STACK_PASSWORD": read_credential(config, credentials.PASSWORD),
            "TRACES_PATH": read_credential(config, credentials.TRACES_PATH),
            **forwarding,
        },
        digests(file),
    )


def jaeger_forwarding(remote: Endpoint) -> str:
    """Return what is merged with jaeger.yaml to send each span to a remote receiver, too."""
    tls = {"tls": {"ca_file": str(remote.ca_file)}} if remote.ca_file else {}
    exporter = {"endpoint": remote.url, "headers": remote.headers, **tls}
    exporters = ["jaeger_storage_exporter", "spanmetrics", "otlphttp/remote"]
    settings = {
        "exporters": {"otlphttp/remote": exporter},
        "service": {"pipelines": {"traces": {"exporters": exporters}}},
    }
    return json.dumps(settings).replace("$", "$$")  # which Jaeger would expand


def read_credential(config: StackConfig, name: str) -> str:
    return (config.credentials / name).read_text()


def notifications_file(config: StackConfig) -> Path:
    return config.state / "alerts" / "notifications.jsonl"


def notifications_service(config: StackConfig, internal: InternalPorts) -> Service:
    return Service(
        "notifications",
        installed("vet-clinic"),
        str(notifications_file(config)),
        f"http://{HOST}:{internal.notifications}/healthz",
        (sys.executable, "-m", "lab.notifications"),
        {
            "NOTIFICATIONS_FILE": str(notifications_file(config)),
            "NOTIFICATIONS_HOST": HOST,
            "NOTIFICATIONS_PORT": str(internal.notifications),
        },
        digests(PROJECT / "src" / "lab" / "notifications.py"),
    )


def alertmanager_config(config: StackConfig) -> Path:
    return config.state / "alertmanager" / "config" / "alertmanager.yml"


def write_alertmanager_config(config: StackConfig, internal: InternalPorts) -> None:
    """Write the receiver's native address beside links to the configuration.

    The configuration names it by a relative path, and Alertmanager expands no variables.
    """
    folder = alertmanager_config(config).parent
    folder.mkdir(parents=True, exist_ok=True)
    for file in ALERTMANAGER_FOLDER.iterdir():
        if file.name != "notifications-url":
            link(folder / file.name, file)
    (folder / "notifications-url").write_text(f"http://{HOST}:{internal.notifications}/\n")


def alertmanager_service(config: StackConfig, internal: InternalPorts) -> Service:
    program = programs.find("alertmanager")
    native = {
        "--config.file": str(alertmanager_config(config)),
        "--storage.path": str(config.state / "alertmanager" / "data"),
        "--web.external-url": f"{config.alertmanager_url}/",
        **web_config(config),
    }
    return Service(
        "alertmanager",
        programs.version_text("alertmanager", program),
        config.alertmanager_url,
        f"{config.alertmanager_url}/-/ready",
        (
            str(program),
            *compose.flags("alertmanager", native),
            f"--web.listen-address={HOST}:{internal.alertmanager}",
        ),
        compose.go_memory_limit("alertmanager"),
        digests(ALERTMANAGER_FOLDER),
        folder=str(alertmanager_config(config).parent),  # paths in alertmanager.yml are relative
    )


def node_exporter_service(config: StackConfig, internal: InternalPorts) -> Service:
    """Measure this machine, and only the filesystem of the state folder."""
    program = programs.find("node_exporter")
    address = f"{HOST}:{internal.node_exporter}"
    disk = f"^{re.escape(mount_point(config.state))}$"
    native = {"--collector.filesystem.mount-points-include": disk, **web_config(config)}
    return Service(
        "node-exporter",
        programs.version_text("node_exporter", program),
        f"http://{address}/metrics",
        f"http://{address}/",
        (
            str(program),
            *compose.flags("node-exporter", native),
            f"--web.listen-address={address}",
        ),
        compose.go_memory_limit("node-exporter"),
    )


def postgres_exporter_service(config: StackConfig, internal: InternalPorts) -> Service:
    program = programs.find("postgres_exporter")
    address = f"{HOST}:{internal.postgres_exporter}"
    container = compose.services()["postgres-exporter"]["environment"]
    return Service(
        "postgres-exporter",
        programs.version_text("postgres_exporter", program),
        f"http://{address}/metrics",
        f"http://{address}/",
        (
            str(program),
            *compose.flags("postgres-exporter", web_config(config)),
            f"--web.listen-address={address}",
        ),
        {
            **container,
            "DATA_SOURCE_URI": f"{HOST}:{config.postgres_port}/postgres?sslmode=disable",
            "DATA_SOURCE_PASS_FILE": str(config.monitor_password_file),
        },
    )


def postgres_sampler_service(config: StackConfig, internal: InternalPorts) -> Service:
    address = f"http://{HOST}:{internal.postgres_sampler}"
    return Service(
        "postgres-sampler",
        installed("vet-clinic"),
        f"{address}/metrics",
        f"{address}/healthz",
        (sys.executable, "-m", "lab.postgres_sampler"),
        {
            "POSTGRES_SAMPLER_DATABASE_URL": (
                f"postgresql://monitor@{HOST}:{config.postgres_port}/postgres"
            ),
            "POSTGRES_SAMPLER_HOST": HOST,
            "POSTGRES_SAMPLER_PASSWORD_FILE": str(config.monitor_password_file),
            "POSTGRES_SAMPLER_PID_FILE": str(postgres.data_directory(config) / "postmaster.pid"),
            "POSTGRES_SAMPLER_PORT": str(internal.postgres_sampler),
        },
        digests(PROJECT / "src" / "lab" / "postgres_sampler.py"),
    )


def mount_point(folder: Path) -> str:
    return str(next(path for path in (folder, *folder.parents) if path.is_mount()))


def grafana_service(config: StackConfig, internal: InternalPorts, program: Path) -> Service:
    state = config.state / "grafana"
    # Without the folder, which stays empty, Grafana logs an error at each start.
    (state / "plugins").mkdir(parents=True, exist_ok=True)
    dashboards = GRAFANA_FOLDER / "dashboards"
    return Service(
        "grafana",
        programs.version_text("grafana", program),
        config.grafana_url,
        f"{config.grafana_url}/api/health",
        (str(program), "server", f"--homepath={grafana_home(program)}"),
        {
            **grafana_settings(),
            **compose.go_memory_limit("grafana"),
            "ALERTMANAGER_URL": f"http://{HOST}:{internal.alertmanager}",
            "DASHBOARDS_FOLDER": str(dashboards),
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(dashboards / "clinic-home.json"),
            "GF_LOG_MODE": "console",
            "GF_PATHS_DATA": str(state),
            "GF_PATHS_LOGS": str(state / "logs"),
            "GF_PATHS_PLUGINS": str(state / "plugins"),
            "GF_PATHS_PROVISIONING": str(GRAFANA_FOLDER / "provisioning"),
            "GF_SERVER_HTTP_ADDR": HOST,
            "GF_SERVER_HTTP_PORT": str(config.grafana_port),
            "GF_SERVER_ROOT_URL": f"{config.grafana_url}/",
            "GF_STACK_PASSWORD": read_credential(config, credentials.PASSWORD),
            "GF_STACK_TRACES_PATH": read_credential(config, credentials.TRACES_PATH),
            "PROMETHEUS_URL": f"http://{HOST}:{internal.prometheus}",
            "TEMPO_URL": f"http://{HOST}:{internal.traces}",
        },
        digests(GRAFANA_FOLDER / "provisioning"),  # dashboards are read again while it runs
    )


def grafana_home(program: Path) -> Path:
    """Find Grafana's own files: in its unpacked archive, or where packages install them."""
    prefix = program.resolve().parents[1]
    places = (prefix, prefix / "share" / "grafana", Path("/usr/share/grafana"))
    home = next((place for place in places if (place / "conf" / "defaults.ini").exists()), None)
    if home is None:
        raise UserError(
            f"{program} has no conf/defaults.ini in {', '.join(map(str, places))}. Install all of "
            "Grafana, or remove it from PATH to run the stack without it."
        )
    return home


def grafana_settings() -> dict[str, str]:
    lines = (GRAFANA_FOLDER / "grafana.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def api_services(config: StackConfig, internal: InternalPorts) -> list[Service]:
    """List the API, or its replicas: each has a port of its own and the one that they share."""
    if config.replicas == 1:
        return [api_service(config)]
    if sys.platform != "linux":
        raise UserError(
            f"{REPLICAS_VARIABLE} needs Linux, which distributes connections over replicas; "
            "CLINIC_WORKERS adds processes here."
        )
    return [
        api_service(config, f"{API}-{number}", port)
        for number, port in enumerate(internal.api[: config.replicas], 1)
    ]


def api_service(config: StackConfig, name: str = API, port: int | None = None) -> Service:
    """Describe the API, or a replica of it on a port of its own."""
    own = config.api_url if port is None else f"http://{HOST}:{port}"
    return Service(
        name,
        installed("vet-clinic"),
        own if port is None else f"{config.api_url}, itself at {own}",
        f"{own}/readyz",
        (sys.executable, "-m", "clinic"),
        {
            **api_environment(config),
            "CLINIC_PORT": str(port or config.clinic_port),
            REPLICAS_VARIABLE: str(config.replicas),
            SHARED_PORT: "" if port is None else str(config.clinic_port),
        },
        # pyproject.toml pins the packages that the API runs on.
        digests(PROJECT / "src" / "clinic", PROJECT / "pyproject.toml"),
        stop_seconds=compose.stop_seconds("api"),
    )


def is_api(service: str) -> bool:
    """Say whether a service is the API or a replica of it."""
    return re.fullmatch(rf"{API}(-\d+)?", service) is not None


def api_environment(config: StackConfig, database_url: str = "") -> dict[str, str]:
    """Return the API's settings from the environment and the addresses of what it uses."""
    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(API_PREFIXES) and name not in LAB_VARIABLES
    }
    endpoints = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": config.otlp_metrics_endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": config.otlp_traces_endpoint,
    }
    return {
        **({} if settings.get("OTEL_EXPORTER_OTLP_ENDPOINT") else endpoints),
        **settings,
        "OTEL_SERVICE_NAME": SERVICE,
        "CLINIC_DATABASE_URL": database_url or config.database_url_with(API_ROLE),
        "CLINIC_DATABASE_PASSWORD_FILE": "" if database_url else str(config.api_password_file),
        "CLINIC_HOST": HOST,
        "CLINIC_PORT": str(config.clinic_port),
    }


def remove_written_config(config: StackConfig) -> None:
    """Remove the configuration that an earlier start wrote for Prometheus and Alertmanager."""
    for file in (prometheus_config(config), alertmanager_config(config)):
        shutil.rmtree(file.parent, ignore_errors=True)


def link(path: Path, target: Path) -> None:
    if not path.exists():
        path.unlink(missing_ok=True)
        path.symlink_to(target)
