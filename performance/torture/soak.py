"""Load for a long time: memory and series stay level, and every request is accounted for."""

from statistics import median

from lab.clients.prometheus import Prometheus
from lab.promql import api, telemetry
from lab.runs import record as records
from lab.runs.record import Record
from performance.stack import Stack
from performance.torture.part import Context, Figures, Part, Result

SECONDS = 3600
ITERATIONS_PER_SECOND = 30
STEP_SECONDS = 15
MOST_GROWTH = 0.1
"""Share by which memory and series may grow from the second quarter of the load to the last."""
LEVELS = {
    "API memory MB": (api.memory_bytes("1m"), 1e6),
    "series of Prometheus": (telemetry.prometheus_series(), 1.0),
}
ROWS = (
    "SELECT (SELECT count(*) FROM owner) + (SELECT count(*) FROM pet)"
    " + (SELECT count(*) FROM appointment)"
)


def run(context: Context) -> Result:
    seconds = round(context.seconds(SECONDS))
    stack = context.stack
    context.say(f"{ITERATIONS_PER_SECOND} iterations/s for {seconds} s.")
    settings = {"DURATION": f"{seconds}s", "RATE": str(ITERATIONS_PER_SECOND)}
    run_id = stack.run_load("soak", settings)
    record = records.load(stack.results / f"{run_id}.json")
    ledger = record.completeness
    stored = int(str(stack.value(ROWS)))
    failed = round(record.total.failed_share * record.total.requests)
    figures: Figures = {
        "load s": seconds,
        "iterations/s": ITERATIONS_PER_SECOND,
        "dropped iterations": record.dropped_iterations,
        "requests": ledger.sent,
        "failed": failed,
        "requests without a trace": ledger.missing,
        "created": ledger.created,
        "rows": stored,
    }
    level = True
    for name, (early, late) in levels(stack, record).items():
        figures |= {f"{name}, second quarter": round(early), f"{name}, last": round(late)}
        level &= late <= early * (1 + MOST_GROWTH)
    exact = not ledger.missing and ledger.created == stored and not ledger.unanswered
    return Result(level and exact and not failed, figures)


def levels(stack: Stack, record: Record) -> dict[str, tuple[float, float]]:
    """Return the median of each level in the second and the last quarter of the run."""
    began, ended = record.period.started, record.period.ended
    count = max(int((ended - began) / STEP_SECONDS), 8)
    times = [began + (ended - began) * number / count for number in range(count + 1)]
    result = {}
    with Prometheus(stack.config.prometheus_url) as prometheus:
        for name, (expression, unit) in LEVELS.items():
            [values] = prometheus.over_time(expression, "", times).values()
            quarters = values[count // 4 : count // 2], values[count * 3 // 4 :]
            early, late = (median(v / unit for v in it if v is not None) for it in quarters)
            result[name] = (early, late)
    return result


PARTS = (
    Part(
        "soak",
        "Under an hour of load memory and series stay level, no request fails, and every request "
        "has its trace and every 201 its row.",
        minutes=63,
        run=run,
    ),
)
