"""The table of results, in the terminal and as Markdown."""

from collections.abc import Sequence

from rich.table import Table

from lab.console import milliseconds, percent
from performance.prove.trial import Result

HEADINGS = ("planted", "users", "no.", "expected", "named", "share", "second", "Grafana", "p95", "")


def row(result: Result) -> tuple[str, ...]:
    trial, cause = result.trial, result.trial.cause
    return (
        cause.name,
        trial.cause.load.settings_for(trial.users)["VUS"],
        str(trial.repetition),
        f"{cause.expected}, {cause.second}" if cause.second else cause.expected,
        result.named,
        percent(result.share),
        result.others[0] if result.others else "-",
        result.in_grafana,
        milliseconds(result.client_p95),
        "right" if result.right else "WRONG",
    )


def table(results: Sequence[Result]) -> Table:
    output = Table(*HEADINGS, box=None, pad_edge=False)
    for result in results:
        output.add_row(*row(result))
    return output


def markdown(results: Sequence[Result]) -> str:
    """Write the table of the documentation: a row for each cause and number of users.

    Its last columns are what each repetition named, with its share; a wrong one is bold.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        cause = result.trial.cause
        users = cause.load.settings_for(result.trial.users)["VUS"]
        groups.setdefault((cause.description, users), []).append(result)
    repetitions = max(map(len, groups.values()), default=0)
    numbers = [f"run {number}" for number in range(1, repetitions + 1)]
    lines = [("planted", "users", "expected", *numbers), ("---",) * (3 + repetitions)]
    for (description, users), runs in groups.items():
        cause = runs[0].trial.cause
        expected = f"`{cause.expected}`" + (f", then `{cause.second}`" if cause.second else "")
        cells = [named(result) for result in runs]
        cells += [""] * (repetitions - len(cells))
        lines.append((description, users, expected, *cells))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def named(result: Result) -> str:
    share = f" {percent(result.share)}" if result.share else ""
    second = f", then `{result.others[0]}`" if result.trial.cause.second and result.others else ""
    text = f"`{result.named}`{share}{second}"
    return text if result.right else f"**{text}**"


def wrong_by_repetition(results: Sequence[Result]) -> dict[tuple[int, int], list[Result]]:
    """Group the wrong results by number of users and repetition."""
    groups: dict[tuple[int, int], list[Result]] = {}
    for result in results:
        wrong = groups.setdefault((result.trial.users, result.trial.repetition), [])
        if not result.right:
            wrong.append(result)
    return groups
