"""What limited a run: the causes that took a large share of its requests' time.

Waiting for the event loop and for the pool is a symptom: its time belongs to what the event loop's
thread and the connections did meanwhile.
"""

from collections.abc import Mapping
from enum import StrEnum

from lab.promql import load_run, request_time
from lab.promql.api import CLINIC, INSTANCE
from lab.promql.request_time import STATE, WAITS, Part, Window, labelled
from lab.promql.resources import machine_cpus
from lab.promql.selectors import OPERATION, RunSelector, aggregate, joined

CAUSE = "cause"


class Cause(StrEnum):
    """What can limit a run."""

    GENERATOR_STARVED = "generator_starved"
    GENERATOR_TOO_SMALL = "generator_too_small"
    MACHINE = "machine"
    NETWORK = "network"
    API_CPU = "api_cpu"
    API_BLOCKED = "api_blocked"
    API_HALTED = "api_halted"
    POOL = "pool"
    POSTGRESQL_EXECUTION = "postgresql_execution"
    POSTGRESQL_LOCKS = "postgresql_locks"
    POSTGRESQL_COMMIT = "postgresql_commit"


# A cause counts from these seconds of the mean request on, which a quiet run does not reach, and
# from this share of its time on.
MIN_SECONDS = {
    Cause.GENERATOR_STARVED: 0.003,
    Cause.MACHINE: 0.003,
    Cause.NETWORK: 0.003,
    Cause.API_CPU: 0.004,
    Cause.API_BLOCKED: 0.003,
    Cause.API_HALTED: 0.003,
    Cause.POOL: 0.001,
    Cause.POSTGRESQL_EXECUTION: 0.0015,
    Cause.POSTGRESQL_LOCKS: 0.001,
    Cause.POSTGRESQL_COMMIT: 0.002,
}
MIN_SHARE = 0.15
# A cause in PostgreSQL counts, too, if it takes this much of the mean request of an operation.
MIN_OPERATION_SECONDS = 0.005
MIN_OPERATION_SHARE = 0.3
# The event loop is a cause only if it is late by this much on average, for the cause's reason: a
# loop that keeps up has bursts, too, and answers come late to those who all ask at once.
MIN_DELAY = {
    Cause.API_CPU: 0.005,
    Cause.API_BLOCKED: 0.002,
    Cause.API_HALTED: 0.002,
}
# Other programs disturb a run with this share of the machine's CPU time, if the event loop's thread
# waits for a CPU this long in relation to the time that it has one.
MIN_OTHER_CPU = 0.25
MIN_RUN_QUEUE = 0.3
# Where the other programs' share is not known, this long.
MIN_RUN_QUEUE_ALONE = 1
# k6 is starved if its pauses return this late on average, whatever else limits the run.
MIN_LATENESS = 0.005
# A share that no cause reaches.
NEVER = 1e9
# An event loop that is less late on average leaves no connection idle that requests wait for.
IN_TIME = 0.002
# Of the iterations that were due.
MIN_DROPPED = 0.02

OTHER_CPU = "machine_other_cpu_time_seconds_total"
K6_RUN_QUEUE = "k6_process_run_queue_time_seconds_total"
CPU_TIME = 'node_cpu_seconds_total{job="node"}'
POOL_SIZE = f"db_client_connection_max{{{CLINIC}}}"

# Why the event loop was late, by what its thread did.
LOOP_CAUSES = {
    "working": Cause.API_CPU,
    "other_threads": Cause.API_CPU,
    "stalled": Cause.API_BLOCKED,
    "halted": Cause.API_HALTED,
}
# What the connections of a full pool wait for.
CONNECTION_CAUSES = {
    "executing": Cause.POSTGRESQL_EXECUTION,
    "lock": Cause.POSTGRESQL_LOCKS,
    "commit": Cause.POSTGRESQL_COMMIT,
}


def causes(run: RunSelector, window: Window) -> str:
    """Share of the client's time that each cause took, of those that matter.

    If there are none, a generator that is too small shows by the share of iterations that it
    dropped.
    """
    relevant = _relevant(run, window)
    dropped = labelled(f"({dropped_share(run)} > {MIN_DROPPED})", CAUSE, Cause.GENERATOR_TOO_SMALL)
    return f"{relevant} or ({dropped} unless on () {relevant})"


def rank(shares: Mapping[str, float]) -> list[str]:
    """Order causes by their shares, but first a starved generator: it spoils the run."""
    return sorted(shares, key=lambda cause: (cause != Cause.GENERATOR_STARVED, -shares[cause]))


def dropped_share(run: RunSelector) -> str:
    """Share of the iterations that were due for which k6 had no free virtual user."""
    dropped = load_run.dropped_iterations(run)
    started = load_run.sum_counters(run, run.k6(load_run.ITERATIONS))
    return f"{dropped} / ({started} + {dropped})"


def other_cpu_share(run: RunSelector) -> str:
    """Share of the machine's CPU time that programs other than the stack and k6 used."""
    return f"({_for_each_second(OTHER_CPU, run)} / {machine_cpus(run)})"


def k6_run_queue(run: RunSelector) -> str:
    """Seconds that k6's threads together waited for a CPU, for each second of the load."""
    return _for_each_second(K6_RUN_QUEUE, run)


def _for_each_second(metric: str, run: RunSelector) -> str:
    """Growth of a counter of the run's generators for each second of the load."""
    return f"{load_run.sum_counters(run, run.marks(metric))} / {load_run.load_seconds(run)}"


def cpu_pressure(run: RunSelector, window: Window) -> str:
    """Share of the load's time in which some program of the machine waited for a CPU."""
    waited = window.total('node_pressure_cpu_waiting_seconds_total{job="node"}')
    return f"clamp_max({waited} / {load_run.load_seconds(run)}, 1)"


def cpu_steal(window: Window) -> str:
    """Share of the machine's CPU time that its hypervisor gave to others."""
    stolen = window.total('node_cpu_seconds_total{job="node",mode="steal"}')
    return f"{stolen} / {window.total(CPU_TIME)}"


def pool_size(window: Window) -> str:
    """Connections that the pool of one process of the API may open."""
    return f"max({window.last(POOL_SIZE)})"


def run_queue_ratio(window: Window) -> str:
    """Time that the event loop's thread waited for a CPU, in relation to the time it had one."""
    waited, worked = (
        window.total(request_time.loop_time_in(state)) for state in ("run_queue", "working")
    )
    return f"({waited} / ({worked} > 0))"


def busy_share(window: Window) -> str:
    """Share of the time in which connections were in use that PostgreSQL was active on them."""
    used = window.total(request_time.USE_TIME, function="histogram_sum")
    return f"clamp_max({window.total(_active())} / ({used} > 0), 1)"


def _relevant(run: RunSelector, window: Window) -> str:
    client = f"scalar({load_run.client_mean(run)})"
    shares = f"sum by ({CAUSE}) ({_terms(run, window)}) / {client}"
    limits = f"clamp_min(({_limits(MIN_SECONDS)}) / {client}, {MIN_SHARE})"
    # Short requests bound their own part of k6's lateness, so the lateness itself decides.
    in_time = f"{request_time.lateness(run)} <= bool {MIN_LATENESS}"
    starved = labelled(f"vector({NEVER} * ({in_time}))", CAUSE, Cause.GENERATOR_STARVED)
    special = f"{_slow_operations(run, window)} or {starved}"
    return f"({shares} > on ({CAUSE}) ({special} or {limits}))"


def _slow_operations(run: RunSelector, window: Window) -> str:
    """0 for each cause in PostgreSQL that dominates an operation, however seldom that one is."""
    client = load_run.client_mean(run, OPERATION)
    causes = []
    for wait, cause in CONNECTION_CAUSES.items():
        seconds = request_time.postgresql(wait, run, window, OPERATION)
        dominant = f"({seconds} > {MIN_OPERATION_SECONDS}) / {client} > {MIN_OPERATION_SHARE}"
        causes.append(labelled(f"0 * max({dominant})", CAUSE, cause))
    return " or ".join(causes)


def _terms(run: RunSelector, window: Window) -> str:
    """Seconds of the mean request, in one or more terms for each cause."""
    parts = request_time.parts(run, window)
    disturbed = _disturbed(run, window)
    suspects = " or ".join(
        labelled(parts[part], CAUSE, cause)
        for part, cause in (
            (Part.GENERATOR, Cause.GENERATOR_STARVED),
            (Part.NETWORK, Cause.NETWORK),
            (Part.POSTGRESQL_EXECUTING, Cause.POSTGRESQL_EXECUTION),
        )
    )
    rest = _rest_of_event_loop(run, parts, window)
    working = labelled(parts[Part.API_WORKING], CAUSE, Cause.API_CPU)
    terms = [
        f"({suspects}) * (1 - {disturbed})",
        labelled(f"(sum({suspects}) + {rest}) * {disturbed}", CAUSE, Cause.MACHINE),
        labelled(parts[Part.POSTGRESQL_LOCKS], CAUSE, Cause.POSTGRESQL_LOCKS),
        labelled(parts[Part.POSTGRESQL_COMMIT], CAUSE, Cause.POSTGRESQL_COMMIT),
        f"{working} and on ({CAUSE}) {_delay_shares(run, window)}",
        _of_event_loop(run, parts, window),
        _of_pool(run, parts, window),
    ]
    return " or ".join(labelled(term, "term", str(number)) for number, term in enumerate(terms))


def _disturbed(run: RunSelector, window: Window) -> str:
    """1 if other programs disturbed the run, else 0, as a scalar."""
    queue = run_queue_ratio(window)
    known = f"({other_cpu_share(run)} >= bool {MIN_OTHER_CPU}) * ({queue} >= bool {MIN_RUN_QUEUE})"
    return f"scalar({known} or {queue} >= bool {MIN_RUN_QUEUE_ALONE} or vector(0))"


def _of_event_loop(run: RunSelector, parts: dict[Part, str], window: Window) -> str:
    """Waits for the event loop, and for connections that waited for it, by why it was late."""
    waited = f"({parts[Part.API_EVENT_LOOP]} + {parts[Part.API_POOL]} * (1 - {_busy(run, window)}))"
    return f"{_delay_shares(run, window)} * scalar({waited})"


def _rest_of_event_loop(run: RunSelector, parts: dict[Part, str], window: Window) -> str:
    """Waits for the event loop that its own delay does not explain."""
    explained = f"(sum({_delay_shares(run, window)}) or vector(0))"
    return f"{parts[Part.API_EVENT_LOOP]} * (1 - {explained})"


def _delay_shares(run: RunSelector, window: Window) -> str:
    """Share of the event loop's delay by cause, of the causes that delay a process enough."""
    known = request_time.loop_delay_in("|".join(LOOP_CAUSES))
    states = _with_cause(window.total(known, joined(STATE, INSTANCE)), STATE, LOOP_CAUSES)
    # Unless others take the CPUs, the API and what serves it need more of them than there are.
    queued = window.total(request_time.loop_delay_in("run_queue"), INSTANCE)
    queued = labelled(f"{queued} * (1 - {_disturbed(run, window)})", CAUSE, Cause.API_CPU)
    delay = aggregate("sum", f"{states} or {queued}", joined(CAUSE, INSTANCE))
    mean = request_time.mean_delay(delay, run, window, CAUSE)
    share = f"sum by ({CAUSE}) ({delay}) / scalar({window.total(request_time.loop_delay_in())})"
    return f"({share} and on ({CAUSE}) {mean} > on ({CAUSE}) ({_limits(MIN_DELAY)}))"


def _with_cause(expression: str, label: str, causes: Mapping[str, Cause]) -> str:
    """Name the cause that each value of a label stands for."""
    for value, cause in causes.items():
        expression = f'label_replace({expression}, "{CAUSE}", "{cause}", "{label}", "{value}")'
    return expression


def _limits(limits: dict[Cause, float]) -> str:
    return " or ".join(
        labelled(f"vector({limit})", CAUSE, cause) for cause, limit in limits.items()
    )


def _of_pool(run: RunSelector, parts: dict[Part, str], window: Window) -> str:
    """Waits for connections that PostgreSQL was busy with, by what they waited for there.

    If all of them execute statements and there are no more of them than CPUs, the pool is too
    small; else more connections would only wait in PostgreSQL.
    """
    waited = f"scalar({parts[Part.API_POOL]} * {_busy(run, window)})"
    waits = window.total(_active(), "wait")
    split = _with_cause(f"{waits} / scalar(sum({waits}))", "wait", CONNECTION_CAUSES)
    small = _with_cause(split, "wait", {"executing": Cause.POOL})
    is_small = _is_small(run, window)
    return f"({small} * {is_small} > 0 or {split} * (1 - {is_small})) * {waited}"


def _is_small(run: RunSelector, window: Window) -> str:
    """1 if all pools have no more connections than the machine has CPUs, else 0, as a scalar."""
    all_pools = f"(sum({window.latest(POOL_SIZE)}) or {pool_size(window)})"
    return f"scalar({all_pools} <= bool {machine_cpus(run)} or vector(1))"


def _busy(run: RunSelector, window: Window) -> str:
    """Share of the waits for connections that is due to PostgreSQL, as a scalar.

    All of it, unless the event loop is late: it then holds connections that are idle.
    """
    in_time = f"({request_time.loop_delay(run, window)} < bool {IN_TIME})"
    return f"scalar(clamp_max({busy_share(window)} + {in_time}, 1) or vector(1))"


def _active() -> str:
    return request_time.backend_time("|".join(WAITS.values()))
