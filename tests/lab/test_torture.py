"""`just torture` without a stack: its parts, its status, and the ledger's comparison."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from performance.torture import __main__ as torture
from performance.torture.part import Context, Part, Result
from performance.torture.writer import Ledger, Write

pytestmark = pytest.mark.anyio


def broken(_: Context) -> Result:
    raise ValueError("no answer")


PARTS = {
    "good": Part("good", "Holds.", 1, lambda _: Result(passed=True, figures={"rows": 1000})),
    "bad": Part("bad", "Holds not.", 1, lambda _: Result(passed=False, figures={"rows": 0})),
    "broken": Part("broken", "Ends early.", 1, broken),
}


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torture, "all_parts", lambda: PARTS)


@pytest.mark.parametrize(
    ("names", "status"), [(["good"], 0), (["bad"], 1), (["good", "broken"], 1), ([], 1)]
)
def test_the_status_is_1_if_a_part_fails(tmp_path: Path, names: list[str], status: int) -> None:
    file = tmp_path / "report.json"

    result = CliRunner().invoke(
        torture.main, [*names, "--json", str(file), "--results", str(tmp_path / "results")]
    )

    assert result.exit_code == status, result.output
    outcomes = {outcome["part"]: outcome for outcome in json.loads(file.read_text())["outcomes"]}
    assert list(outcomes) == (names or list(PARTS))
    assert all(outcome["passed"] is (name == "good") for name, outcome in outcomes.items())
    if "broken" in outcomes:
        assert outcomes["broken"]["figures"] == {"error": "ValueError: no answer"}


def test_an_unknown_part_is_refused() -> None:
    result = CliRunner().invoke(torture.main, ["good", "better"])

    assert result.exit_code == 2
    assert "better" in result.output


def test_a_scale_shortens_lengths_and_repetitions(tmp_path: Path) -> None:
    context = Context(tmp_path, scale=0.1)

    assert (context.seconds(600), context.seconds(5), context.seconds(1)) == (60, 2, 1)
    assert (context.times(20), context.times(3)) == (2, 1)


class Rows:
    """A connection to a database with these owners."""

    def __init__(self, *rows: tuple[str, int, str]) -> None:
        self.rows = rows

    async def fetch(self, statement: str, _: str) -> list[dict[str, Any]]:
        names = ("mark", "id", "name")
        return [dict(zip(names, row, strict=True)) for row in self.rows if "owner W" in statement]


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ([("m", 1, "Ana")], (0, 0, 0)),
        ([], (1, 0, 0)),
        ([("m", 2, "Ana")], (1, 0, 0)),
        ([("m", 1, "Eva")], (0, 1, 0)),
        ([("m", 1, "Ana"), ("m", 2, "Ana")], (0, 0, 1)),
    ],
)
async def test_the_ledger_tells_missing_altered_and_duplicate_rows(
    rows: list[tuple[str, int, str]], counts: tuple[int, int, int]
) -> None:
    ledger = Ledger()
    ledger.writes = [Write("owner", "/owners", "m", {}, {"name": "Ana"}, id=1)]

    found = await ledger.compare(Rows(*rows))

    assert (found.missing, found.altered, found.twice) == counts
    assert found.exact is (counts == (0, 0, 0))
