"""What a report says about a run, in sentences, from what lab.findings found."""

import re
from dataclasses import dataclass
from typing import Literal

from lab.console import clock, milliseconds, percent
from lab.findings.nearest_limit import Interval, NearestLimit
from lab.findings.preconditions import MIN_OTHER_CPU_SHARE
from lab.findings.saturation import LatencySaturation, Load, Saturation, ThroughputSaturation
from lab.findings.summary import Findings
from lab.runs.record import Completeness, OperationStats, Record, Threshold, Verdict

THRESHOLD = re.compile(
    r"http_req_(?P<metric>duration|failed)\{(?P<tag>name|scenario):(?P<name>.*)\} "
    r"(?:p\((?P<quantile>\d+)\)<(?P<ms>\d+)|rate<(?P<share>[\d.]+))"
)
SIDES = {
    "outside_server": "outside the server (network, queues, k6)",
    "in_server": "in the server, excluding the database",
    "in_database": "in the database",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A statement about a run, and what it is about."""

    text: str
    subject: Literal["nearest limit", "saturation", "failures", "load"]


def sentences(record: Record, findings: Findings) -> list[Sentence]:
    """Say what a run shows, the most important first."""
    result: list[Sentence] = []
    if findings.nearest_limit:
        text = nearest_limit_text(findings.nearest_limit, record.operations)
        result.append(Sentence(text, "nearest limit"))
    if findings.saturation:
        result.append(Sentence(saturation_text(findings.saturation), "saturation"))
    result.append(Sentence(failures_text(record), "failures"))
    if record.dropped_iterations:
        dropped = count(record.dropped_iterations, "iteration")
        were = "was" if record.dropped_iterations == 1 else "were"
        text = f"{dropped} {were} dropped: no virtual user was free."
        result.append(Sentence(text, "load"))
    other = (record.environment and record.environment.other_cpu_share) or 0.0
    if other >= MIN_OTHER_CPU_SHARE:
        text = f"Other programs used {percent(other)} of the CPU, which may have slowed the run."
        result.append(Sentence(text, "load"))
    return result


def nearest_limit_text(nearest: NearestLimit, operations: list[OperationStats]) -> str:
    """Say whether operations met their limits, which one is nearest to its limit, and when."""
    limited = [row for row in operations if row.client_p95 is not None and row.limit_p95]
    over = [row for row in limited if (row.client_p95 or 0) > (row.limit_p95 or 0)]
    failing = any(row.failed_share >= (row.limit_failed_share or 1) for row in operations)
    if len(over) > 1:
        head = f"{len(over)} of {len(limited)} operations exceeded their p95 limit. Furthest over"
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
    if nearest.main_side:
        share = getattr(stats, nearest.main_side)
        text += f", {percent(share)} of its time {SIDES[nearest.main_side]}"
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
        if saturation.throughput == "declined":
            best, busiest = saturation.best, saturation.busiest
            texts.append(
                f"Throughput peaked at {best.rate:,.0f} req/s ({interval_text(best.interval)}) and "
                f"fell to {busiest.rate:,.0f} req/s with {busiest.users:,.0f} virtual users."
            )
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


def _reason(one: LatencySaturation | ThroughputSaturation) -> str:
    if isinstance(one, LatencySaturation):
        limit = milliseconds(one.stats.limit_p95)
        return f"{one.stats.operation} exceeded its p95 limit of {limit} ms"
    return (
        f"more virtual users (up to {one.max_users:,.0f}) did not raise throughput above "
        f"{one.max_rate:,.0f} req/s"
    )


def failures_text(record: Record) -> str:
    """Say how many requests failed, of which operation most often, and how."""
    failed = round(record.total.failed_share * record.total.requests)
    if not failed:
        return "No requests failed."
    worst = max(record.operations, key=lambda stats: stats.failed_share * stats.requests)
    text = (
        f"{failed:,} of {count(record.total.requests, 'request')} failed, most often "
        f"{worst.operation} ({percent(worst.failed_share, 1)} of its requests)"
    )
    if record.failed_statuses:
        text += f". Failed with status {', '.join(map(str, record.failed_statuses))}"
    if record.completeness.unanswered:
        text += f". {count(record.completeness.unanswered, 'request')} got no response"
    return f"{text}."


def completeness_text(completeness: Completeness) -> str:
    sent = count(completeness.sent, "request")
    return f"Completeness: {sent} sent, {completeness.traced:,} traced."


def threshold_texts(threshold: Threshold) -> tuple[str, str]:
    """Name what a threshold applies to, and its condition; a custom one as k6 writes it."""
    known = THRESHOLD.fullmatch(f"{threshold.metric} {threshold.threshold}")
    if not known:
        return threshold.metric, threshold.threshold
    subject = "all requests" if known["tag"] == "scenario" else known["name"]
    if known["metric"] == "duration":
        return subject, f"p{known['quantile']} < {known['ms']} ms"
    return subject, f"failed < {float(known['share']) * 100:g} %"


def verdict_text(verdict: Verdict) -> str:
    return "no verdict" if verdict == "none" else verdict


def interval_text(interval: Interval) -> str:
    return f"{clock(interval.start)}-{clock(interval.end)}"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
