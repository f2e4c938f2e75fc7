"""Measure the clinic beside its floor and beside a reference, in turns on pinned cores."""

import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lab.console import duration as in_words
from lab.console import echo, say
from lab.errors import UserError
from performance import command_line
from performance.bench import scale, stack
from performance.bench.measure import Bench, Sample
from performance.bench.servers import LOAD_CORE, SERVERS, database

FIRST, LAST = 50_000, 500_000
"""Requests after which memory is compared."""
COLUMNS = {
    "req/s": "rate",
    "CPU µs/request": "cpu",
    "p50 ms": "p50",
    "p95 ms": "p95",
    "p99 ms": "p99",
    "RSS MB": "rss",
    "spans/request": "spans",
    "requests lost": "lost",
    "other programs' CPU %": "other",
}
TRACED, WORKERS = "clinic, traced", "clinic, traced, 2 workers"
REFERENCES = [name for name in SERVERS if name.startswith("reference")]
RATIOS = (
    *(("throughput", "rate", TRACED, name) for name in REFERENCES),
    *(("CPU", "cpu", name, TRACED) for name in REFERENCES),
    ("CPU", "cpu", TRACED, "clinic"),
    ("CPU", "cpu", "clinic", "floor"),
    ("throughput", "rate", WORKERS, TRACED),
    ("CPU", "cpu", WORKERS, TRACED),
)
WHOLE = 100
"""From here on decimals carry no information."""
CPU_INFO = Path("/proc/cpuinfo")
Samples = dict[str, list[Sample]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=5, show_default=True, help="Rounds in which all take turns.")
@click.option("--duration", default="10s", show_default=True, help="Length of each load.")
@click.option("--users", default=20, show_default=True, help="Virtual users without pauses.")
@click.option("--only", multiple=True, type=click.Choice(list(SERVERS)), help="Measure these.")
@click.option("--scale", "by_scale", is_flag=True, help="Compare 1,000 with 1,000,000 rows.")
@click.option("--memory", is_flag=True, help=f"Compare memory after {FIRST:,} and {LAST:,}.")
@click.option("--stack", "whole_stack", is_flag=True, help="Measure the native stack as a whole.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Also write.")
def main(  # noqa: PLR0913 one for each option
    *,
    rounds: int,
    duration: str,
    users: int,
    only: tuple[str, ...],
    by_scale: bool,
    memory: bool,
    whole_stack: bool,
    file: Path | None,
) -> None:
    """Measure the clinic beside its floor and a reference; print tables in Markdown."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) <= LOAD_CORE:
        raise UserError("The benchmark pins processes to two cores, which needs Linux with two.")
    result: dict[str, Any] = {"machine": machine(), "rounds": rounds}
    if by_scale:
        result["scale"] = times = scale.measure(rounds)
        echo(scale_table(times))
    elif memory:
        with database() as settings:
            used = Bench(settings.database_url, users).memory(SERVERS[TRACED], FIRST, LAST)
        result["memory"] = used
        echo(f"RSS {used[0]:.1f} MB, then {used[1]:.1f} MB: {used[1] / used[0]:.3f} x")
    elif whole_stack:
        sample = stack.measure()
        result["stack"] = asdict(sample)
        echo(stack_table(sample))
    else:
        with database() as settings:
            bench = Bench(settings.database_url, users)
            samples = take_turns(bench, only or tuple(SERVERS), rounds, duration)
        result["samples"] = {
            name: [asdict(sample) for sample in each] for name, each in samples.items()
        }
        echo(f"{servers_table(samples)}\n\n{ratios_table(samples)}")
    if file:
        file.write_text(json.dumps(result, indent=1))


def take_turns(bench: Bench, names: Sequence[str], rounds: int, duration: str) -> Samples:
    """Measure each server once a round, in the reverse order every second round."""
    samples: Samples = {name: [] for name in names}
    began = time.monotonic()
    for number in range(rounds):
        for name in reversed(names) if number % 2 else names:
            sample = bench.measure(SERVERS[name], duration)
            samples[name].append(sample)
            done = sum(map(len, samples.values()))
            left = (time.monotonic() - began) / done * (rounds * len(names) - done)
            say(
                f"Round {number + 1} of {rounds}, {name}: {sample.rate:,.0f} req/s, "
                f"{sample.cpu:,.0f} µs CPU; about {in_words(left)} left"
            )
    return samples


def servers_table(samples: Samples) -> str:
    rows = (
        (name, *(spread([getattr(sample, key) for sample in each]) for key in COLUMNS.values()))
        for name, each in samples.items()
    )
    return markdown(("", *COLUMNS), rows)


def ratios_table(samples: Samples) -> str:
    rows = []
    for title, key, one, other in RATIOS:
        pairs = zip(samples.get(one, ()), samples.get(other, ()), strict=False)
        ratios = [getattr(first, key) / getattr(second, key) for first, second in pairs]
        if ratios:
            rows.append((f"{title}: {one} / {other}", spread(ratios, 2)))
    return markdown(("ratio in each round", "median (lowest to highest)"), rows)


def scale_table(times: scale.Times) -> str:
    rows = (
        (
            name,
            *(spread(list(each), 2) for each in zip(*pairs, strict=True)),
            spread([large / small for small, large in pairs], 2),
        )
        for name, pairs in times.items()
    )
    return markdown(("", *(f"ms, {size:,} rows" for size in scale.SIZES), "ratio"), rows)


def stack_table(sample: stack.StackSample) -> str:
    names = sorted(sample.idle, key=lambda name: -sample.stress[name])
    memory = [("all", sum(sample.idle.values()), sum(sample.stress.values()))]
    memory += [(name, sample.idle[name], sample.stress[name]) for name in names]
    rows = [(name, f"{idle:,.0f}", f"{stress:,.0f}") for name, idle, stress in memory]
    return (
        f"`just up`: {sample.up:.1f} s. "
        f"A request can be searched after {spread(sample.search_delays, 2)} s.\n\n"
        f"{markdown(('service', 'MB idle', 'MB under stress'), rows)}"
    )


def spread(values: Sequence[float], digits: int | None = None) -> str:
    """Write the median, and the lowest and the highest value."""
    middle = statistics.median(values)
    if digits is None:
        digits = 0 if max(values) >= WHOLE else 1
    texts = [f"{value:,.{digits}f}" for value in (middle, min(values), max(values))]
    return texts[0] if len(set(texts)) == 1 else f"{texts[0]} ({texts[1]} to {texts[2]})"


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (titles, ["---"] * len(titles), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine() -> str:
    """Describe what is measured on."""
    cpu = next(
        (line.partition(": ")[2] for line in CPU_INFO.read_text().splitlines() if "model" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores, {cpu}; {platform.system()}, Python {platform.python_version()}"


if __name__ == "__main__":
    command_line.run(main, "bench")
