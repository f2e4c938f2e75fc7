"""Print the log lines of one trace."""

from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from lab.console import plain
from lab.stack.log_lines import LogLine

STYLES = {"ERROR": "red", "WARNING": "yellow"}
LONGEST_LINE = 500


def show(console: Console, lines: list[LogLine], *, traceback: bool) -> None:
    """Print lines with their time, and the traceback of an error if that is wanted."""
    for line in lines:
        style = STYLES.get(str(line.fields.get("level")), "")
        at = f"{datetime.fromtimestamp(line.time, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
        console.print(
            Text.assemble(f"{at} UTC  {line.service}  ", (plain(line.message, LONGEST_LINE), style))
        )
        frames = str(line.fields.get("exception", "")).splitlines() if traceback else []
        for frame in frames:
            indent = "  " * (1 + (len(frame) - len(frame.lstrip())) // 2)
            console.print(Text(f"{indent}{plain(frame)}", style="dim"), soft_wrap=True)
