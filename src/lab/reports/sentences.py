"""What a report says about a run, in sentences, from what lab.findings found."""

import re
from dataclasses import dataclass
from typing import Literal

from lab.console import clock, duration, milliseconds, percent
from lab.findings.limits import Limit, find_limits
from lab.findings.names import PARTS, VERDICTS, verdict_text
from lab.findings.nearest_limit import Interval, NearestLimit
from lab.findings.preconditions import MIN_OTHER_CPU_SHARE
from lab.findings.saturation import (
    AnySaturation,
    LatencySaturation,
    Load,
    LoopSaturation,
    PeakSaturation,
    Saturation,
    UserSaturation,
)
from lab.findings.summary import Findings
from lab.reports import bottleneck_text, failure_text
from lab.runs.record import Completeness, Generator, OperationStats, Record
from lab.runs.verdict import ended_early

BUSY_CPUS = 0.8
OPERATOR = re.compile(r"\s*([<>=!]=?=?)\s*")
# How the names of k6's metrics of durations end.
K6_MILLISECONDS = ("_duration", "_waiting", "_connecting", "_sending", "_receiving", "_blocked")
# What a terminal, and a label in Prometheus, shows of a sentence.
MAX_SENTENCE = 500
MAX_GENERATORS = 8
# The others are in the table of thresholds.
MAX_FAILED_THRESHOLDS = 5


@dataclass(frozen=True, slots=True)
class Sentence:
    """A statement about a run, and what it is about."""

    text: str
    subject: Literal[
        "verdict",
        "part",
        "threshold",
        "bottleneck",
        "other bottleneck",
        "nearest limit",
        "saturation",
        "failures",
        "load",
    ]


def sentences(record: Record, findings: Findings) -> list[Sentence]:
    """Say what a run shows, the most important first."""
    result = [Sentence(verdict_sentence(record), "verdict")]
    if record.part:
        result.append(Sentence("Times count from the start of the part.", "part"))
    result += [Sentence(text, "threshold") for text in failed_threshold_texts(record)]
    result.append(Sentence(bottleneck_text.sentence(record), "bottleneck"))
    others = bottleneck_text.other_sentences(record)
    result += [Sentence(text, "other bottleneck") for text in others]
    if findings.nearest_limit:
        text = nearest_limit_text(findings.nearest_limit, record.operations)
        result.append(Sentence(text, "nearest limit"))
    if findings.saturation:
        result.append(Sentence(saturation_text(findings.saturation), "saturation"))
    result.append(Sentence(failure_text.sentence(record), "failures"))
    if record.dropped_iterations:
        dropped = count(record.dropped_iterations, "iteration")
        were = "was" if record.dropped_iterations == 1 else "were"
        text = f"{dropped} {were} dropped: no initialised virtual user was free."
        result.append(Sentence(text, "load"))
    if record.generators:
        result.append(Sentence(generators_text(record.generators), "load"))
    other = (record.environment and record.environment.other_cpu_share) or 0.0
    if other >= MIN_OTHER_CPU_SHARE and _cpus_were_busy(record):
        text = f"Other programs used {percent(other)} of the CPU, which may have slowed the run."
        result.append(Sentence(text, "load"))
    return result


def generators_text(generators: list[Generator]) -> str:
    """Say what each generator did, and whether it would have passed alone."""
    results = {True: ", passed alone", False: ", failed alone", None: ""}
    texts = [
        f"{one.name} {count(one.requests, 'request')}{results[one.passed]}"
        for one in generators[:MAX_GENERATORS]
    ]
    more = len(generators) - len(texts)
    listed = "; ".join([*texts, f"and {more} more"] if more else texts)
    return f"{len(generators)} generators, judged together: {listed}."


def _cpus_were_busy(record: Record) -> bool:
    """Tell whether most of the machine's CPU time was used at some time, or it is not known."""
    machine = record.resource("machine")
    if not machine or machine.cpu_max is None or not machine.cores:
        return True
    return machine.cpu_max >= BUSY_CPUS * machine.cores


def verdict_sentence(record: Record) -> str:
    """Say what the verdict is and what it rests on; a part of a run has none."""
    if record.part:
        named = part_text(record.part).capitalize()
        return f"{named}, without a verdict."
    text = verdict_text(record.verdict, record.verdict_reason)
    text = f"{text[:2]}{text[2].upper()}{text[3:]}"
    number = len(record.thresholds)
    if record.verdict == "failed":
        failed = sum(not threshold.passed for threshold in record.thresholds)
        text += f": {failed} of {count(number, 'threshold')}"
    elif record.verdict == "passed":
        text += f": all {number} thresholds" if number > 1 else ": 1 threshold"
    if record.verdict != "running" and ended_early(record.period.seconds, record.planned):
        text += f", after {duration(record.period.seconds)} of {duration(record.planned)}"
    return f"{text}."


def failed_threshold_texts(record: Record) -> list[str]:
    """Word the failed thresholds: `✗ POST /owners p95 < 300 ms: 856 ms`."""
    mark = VERDICTS["failed"].mark
    failed = [limit for limit in find_limits(record) if not limit.met] if record.thresholds else []
    texts = [
        f"{mark} {limit.subject} {condition_text(limit)}: {reached_text(limit)}"
        for limit in failed[:MAX_FAILED_THRESHOLDS]
    ]
    more = len(failed) - len(texts)
    return [*texts, f"{mark} … and {more} more."] if more else texts


def nearest_limit_text(nearest: NearestLimit, operations: list[OperationStats]) -> str:
    """Say whether operations met their limits, which one is nearest to its limit, and when."""
    limited = [row for row in operations if row.client_p95 is not None and row.limit_p95]
    over = [row for row in limited if (row.client_p95 or 0) > (row.limit_p95 or 0)]
    failing = any(row.failed_share >= (row.limit_failed_share or 1) for row in operations)
    if len(over) > 1:
        head = f"{len(over)} of {len(limited)} operations exceeded their p95 limit. Worst"
    elif over:
        head = f"1 of {count(len(limited), 'operation')} exceeded its p95 limit"
    else:
        met = "p95 limits" if failing else "SLO"
        head = f"All operations met their {met}. Closest to its limit"
    stats = nearest.stats
    text = (
        f"{head}: {stats.operation}, p95 {milliseconds(stats.client_p95)} ms "
        f"(limit {milliseconds(stats.limit_p95)} ms)"
    )
    if nearest.main_part:
        share = stats.time_shares[nearest.main_part]
        text += f", {percent(share)} of its time {PARTS[nearest.main_part][1]}"
    if nearest.exceeded:
        text += f". {_exceeded(nearest)}"
    elif nearest.slowest_interval and not over:
        requests = count(nearest.slowest_requests, "request")
        text += f". Slowest interval: {interval_text(nearest.slowest_interval)} ({requests})"
    return f"{text}."


def _exceeded(nearest: NearestLimit) -> str:
    longest = max(nearest.exceeded, key=lambda interval: interval.seconds)
    if not (nearest.until_end and longest == nearest.exceeded[-1]):
        when = f"from {clock(longest.start)} to {clock(longest.end)}"
    elif longest.start:
        when = f"from {clock(longest.start)} until the end"
    else:
        when = "for the whole run"
    others = len(nearest.exceeded) - 1
    more = f", and in {count(others, 'shorter interval')}" if others else ""
    return f"It exceeded its limit {when}{more}"


def saturation_text(saturation: Saturation) -> str:
    """Say at which load the clinic saturated, or up to which load it did not, and how it shows."""
    texts = [
        f"{'At' if i else 'Saturated at'} {_load(one.load, saturation)}"
        f" ({interval_text(one.load.interval)}){':' if not i else ','} {_reason(one)}."
        for i, one in enumerate(saturation.saturations)
    ]
    if not texts:
        users = max(saturation.busiest.users, saturation.best.users)
        highest = Load(saturation.best.interval, users, saturation.best.rate)
        text = f"No saturation found up to {_load(highest, saturation)}"
        if not saturation.exceeded_at_start:
            text += ": no operation exceeded its p95 limit for more than one interval"
            if saturation.throughput == "grew":
                text += ", and throughput grew with the load"
            elif saturation.throughput == "planned":
                text += ", and no iteration was dropped"
        texts = [f"{text}."]
    if saturation.exceeded_at_start:
        names = " and ".join(stats.operation for stats in saturation.exceeded_at_start)
        texts.append(f"{names} exceeded the p95 limit before the load grew.")
    return " ".join(texts)


def _load(load: Load, saturation: Saturation) -> str:
    """Name a load; at a planned rate the number of busy users only follows from the latency."""
    rate = f"{load.rate:,.0f} req/s"
    if not load.users or saturation.arrivals:
        return rate
    return f"{load.users:,.0f} virtual users, {rate}"


def _reason(one: AnySaturation) -> str:
    if isinstance(one, LatencySaturation):
        limit = milliseconds(one.stats.limit_p95)
        return f"{one.stats.operation} exceeded its p95 limit of {limit} ms"
    if isinstance(one, LoopSaturation):
        return f"the API's event loop was busy {percent(one.busy)} of the time"
    if isinstance(one, PeakSaturation):
        return f"throughput then fell to {one.rate:,.0f} req/s with {one.users:,.0f} virtual users"
    if isinstance(one, UserSaturation):
        return f"throughput per virtual user fell from {one.best_rate:.1f} to {one.rate:.1f} req/s"
    return (
        f"more virtual users (up to {one.max_users:,.0f}) did not raise throughput much above "
        f"{one.max_rate:,.0f} req/s"
    )


def part_text(part: tuple[float, float]) -> str:
    """Name a part of a run: `part 1:00-4:00 of the run`."""
    begin, end = map(clock, part)
    return f"part {begin}-{end} of the run"


def completeness_text(completeness: Completeness, *, part: bool = False) -> str:
    """Say how much of a run is stored; of a part it is not known, so that of the whole run."""
    sent = count(completeness.sent, "request")
    of = " of the whole run" if part else ""
    return f"Completeness{of}: {sent} sent, {completeness.traced:,} traced."


def condition_text(limit: Limit) -> str:
    """Word what a limit demands: `p95 < 300 ms`, `failed < 1 %`, or a condition of k6."""
    if limit.limit is None or limit.unit == "custom":
        return _custom_condition(limit)
    if limit.unit == "seconds":
        return f"{limit.quantity} < {limit.limit * 1000:g} ms"
    return f"{limit.quantity} < {limit.limit * 100:g} %"


def reached_text(limit: Limit) -> str:
    """Word the value that a run reached: `856 ms`, `5.20 %`."""
    if limit.reached is None:
        return "-"
    if limit.unit == "seconds":
        return f"{milliseconds(limit.reached)} ms"
    if limit.unit == "share" or limit.quantity.startswith("rate"):
        return percent(limit.reached, 2)
    if _custom_milliseconds(limit):
        return f"{milliseconds(limit.reached / 1000)} ms"
    return f"{limit.reached:,.4g}"


def _custom_condition(limit: Limit) -> str:
    """Word a condition of k6 with the unit of its number: `count < 10`, `rate < 1 %`."""
    if limit.limit is None:
        return limit.quantity
    words = OPERATOR.sub(r" \1 ", limit.quantity, count=1)
    if limit.quantity.startswith("rate"):
        return f"{words.rpartition(' ')[0]} {limit.limit * 100:g} %"
    return f"{words} ms" if _custom_milliseconds(limit) else words


def _custom_milliseconds(limit: Limit) -> bool:
    """Tell whether a threshold that k6 alone knows compares milliseconds."""
    metric = limit.subject.partition("{")[0]
    return metric.endswith(K6_MILLISECONDS) and not limit.quantity.startswith(("count", "rate"))


def interval_text(interval: Interval) -> str:
    return f"{clock(interval.start)}-{clock(interval.end)}"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
