"""Alerts about the API and the machine."""

from lab.promql import api, telemetry
from lab.rules.rule import Group, Rule, alert, docker_memory_limit, group, record

LAST_SAMPLE = "clinic:last_sample:timestamp_seconds"
# An API that has been silent for longer was removed on purpose.
FORGOTTEN_AFTER = "7d"
MEMORY_LIMIT = "200 * 1024 ^ 2"
CRASHES = 5
FREE_DISK_LIMIT = "5 * 1024 ^ 3"


def groups() -> list[Group]:
    # Pushed metrics leave no `up` series behind: all that shows is their absence.
    down = _clinic_down(telemetry.after_start(api.metrics_absent("30s")))
    return [
        group("clinic", [down, *_clinic_alerts()]),
        group("machine", _machine_alerts(), "15s"),
    ]


def groups_elsewhere() -> list[Group]:
    """Build the rules about the API where it need not be: only one that was there can be absent."""
    before = f"last_over_time({LAST_SAMPLE}[1h]) > time() - {FORGOTTEN_AFTER}"
    last_sample = record(LAST_SAMPLE, f"{api.last_sample()}\nor {before}")
    down = _clinic_down(f"time() - {LAST_SAMPLE} > 30")
    return [group("clinic", [last_sample, down, *_clinic_alerts()])]


def _clinic_down(expression: str) -> Rule:
    return alert(
        "ClinicDown",
        expression,
        wait="15s",
        severity="page",
        area="service",
        summary="The API sends no metrics",
        description="The API has sent no metrics for 30 s: it is down or cannot reach Prometheus.",
        panel=("clinic-api", "Last metric received"),
    )


def _clinic_alerts() -> list[Rule]:
    return [
        # Each process sends metrics for too short a time to be missed. A deployment replaces all,
        # and after a stop the workers start one after the other.
        alert(
            "ClinicRestarting",
            f"{api.ended_processes('15m')} >= {CRASHES} * {api.running_processes()}",
            wait="30s",
            severity="page",
            area="service",
            summary="The API restarts again and again",
            description="{{ $value }} processes of the API ended in the last 15 min.",
            panel=("clinic-api", "Last metric received"),
        ),
        # Longer than a replica takes to restart. None runs without ClinicDown.
        alert(
            "ReplicaDown",
            f"{api.expected_processes()} - {api.running_processes()} > 0",
            wait="30s",
            severity="ticket",
            area="service",
            summary="A replica of the API is missing",
            description="{{ $value }} of the API's processes send no metrics: CLINIC_REPLICAS and "
            "CLINIC_WORKERS say how many should. The others serve all requests.",
            panel=("clinic-api", "Processes"),
        ),
        alert(
            "DatabaseDown",
            f"{api.database_up('15s', 'job')} == 0",
            wait="25s",
            severity="page",
            area="service",
            summary="PostgreSQL does not answer the API",
            description="PostgreSQL does not answer the API's check, which runs every second (up "
            "is {{ $value }}). Requests get status 503.",
            panel=("clinic-api", "Failed statements and 503 responses"),
        ),
        # The least within the window: all were in use for the whole minute.
        alert(
            "PoolExhausted",
            f"{api.pool_usage('1m', 'job', 'min_over_time')} >= 1",
            severity="page",
            area="service",
            summary="The connection pool is exhausted",
            description="{{ $value | humanizePercentage }} of the connections of a process's pool "
            "were in use for a whole minute. Its requests wait for a connection and get status 503 "
            "after CLINIC_POOL_TIMEOUT.",
            panel=("clinic-api", "Connections"),
        ),
        alert(
            "EventLoopLagging",
            f"{api.event_loop_delay(0.99, '1m', 'job')} > 0.1",
            wait="2m",
            severity="ticket",
            area="service",
            summary="The API's event loop is late",
            description="The event loop of a process runs callbacks "
            "{{ $value | humanizeDuration }} late (p99). Every request to it waits that long "
            "before its code runs. Normal is below 10 ms; this alert fires above 100 ms.",
            panel=("clinic-api", "Event-loop delay"),
        ),
        alert(
            "CpuSaturated",
            f"{api.cpu_cores('1m', 'job, instance')} > 0.9",
            wait="5m",
            severity="ticket",
            area="service",
            summary="The API uses a full core",
            description="A process of the API uses {{ $value | humanizePercentage }} of a core, "
            "and cannot use more than one: its throughput no longer grows. CLINIC_WORKERS adds "
            "processes.",
            panel=("clinic-api", "CPU"),
        ),
        alert(
            "MemoryHigh",
            f"{api.memory_bytes('1m', 'job, instance')} > {MEMORY_LIMIT}",
            wait="5m",
            severity="ticket",
            area="service",
            summary="The API's memory is near its limit",
            description="The API uses {{ $value | humanize1024 }}B; about 100 MiB under load is "
            f"normal. In Docker the container is OOM-killed at {docker_memory_limit('api')}.",
            panel=("clinic-api", "Memory"),
        ),
    ]


def _machine_alerts() -> list[Rule]:
    return [
        alert(
            "DiskAlmostFull",
            f"{telemetry.disk_free_bytes()} < {FREE_DISK_LIMIT}",
            wait="5m",
            severity="page",
            area="machine",
            summary="The disk is almost full",
            description="{{ $value | humanize1024 }}B are free on the disk that holds the stack's "
            "data. Prometheus may grow to 4 GB, and PostgreSQL stops when it cannot write.",
            panel=("clinic-telemetry", "Disk"),
        ),
        alert(
            "HistoryCut",
            f"{telemetry.size_retentions('6h')} > 0",
            severity="ticket",
            area="machine",
            summary="Prometheus keeps less than 15 days of samples",
            description="Prometheus reached its size limit {{ $value }} time(s) in the last 6 h "
            "and deleted its oldest samples.",
            panel=("clinic-telemetry", "Limits"),
        ),
    ]
