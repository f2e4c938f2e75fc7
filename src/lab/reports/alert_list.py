"""Print the alerts: first what somebody is told of, then what is kept quiet, then the pending."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.clients.alertmanager import WATCHDOG, silenced
from lab.clients.prometheus_alerts import Alert
from lab.console import plain

FIRING, PENDING = "firing", "pending"
STATES = (FIRING, "unsent", "shown", "inhibited", "silenced", PENDING)
STYLES = {FIRING: "bold red", "unsent": "red", PENDING: "yellow"}
SEVERITIES = ("page", "ticket", "none")


def show(
    console: Console,
    alerts: Iterable[Alert],
    at_alertmanager: list[dict[str, Any]],
    silences: list[dict[str, Any]],
) -> None:
    """Print the alerts that Prometheus has, with what Alertmanager makes of each."""
    alerts = list(alerts)
    shown = sorted(
        ((*state_of(alert, at_alertmanager), alert) for alert in alerts if alert.name != WATCHDOG),
        key=lambda row: (STATES.index(row[0]), rank(row[2]), row[2].name, row[2].since),
    )
    if shown:
        table = Table("State", "Severity", "Since", "Alert", "Why", box=None, pad_edge=False)
        for state, because, alert in shown:
            table.add_row(
                Text(f"{state}{because}", style=STYLES.get(state, "")),
                plain(alert.labels.get("severity", "")),
                f"{alert.since.astimezone(UTC):%H:%M:%S}\n{ago(alert.since)}",
                plain(alert.name),
                why(alert),
            )
        console.print(table)
    else:
        console.print("Nothing fires.")
    for silence in silences:
        ends = datetime.fromisoformat(silence["endsAt"]).astimezone(UTC)
        console.print(
            f"{plain(silenced(silence))} calls nobody until {ends:%Y-%m-%d %H:%M:%S} UTC "
            f"({plain(silence['comment'])}, by {plain(silence['createdBy'])})."
        )
    if not any(alert["labels"].get("alertname") == WATCHDOG for alert in at_alertmanager):
        console.print(
            "The watchdog does not reach Alertmanager: no alert would call anybody. If the stack "
            "came up just now, ask again in some seconds; else see `just status`."
        )


def state_of(alert: Alert, at_alertmanager: list[dict[str, Any]]) -> tuple[str, str]:
    """Say what becomes of an alert, and by what."""
    if not alert.firing:
        return PENDING, ""
    passed = next((passed for passed in at_alertmanager if passed["labels"] == alert.labels), None)
    if passed is None:
        return "unsent", ""
    if passed["status"]["silencedBy"]:
        return "silenced", ""
    if by := passed["status"]["inhibitedBy"]:
        names = {other["fingerprint"]: other["labels"]["alertname"] for other in at_alertmanager}
        sources = sorted({names.get(fingerprint, fingerprint) for fingerprint in by})
        return "inhibited", f"\nby {', '.join(sources)}"
    return ("shown" if alert.labels.get("severity") == "none" else FIRING), ""


def rank(alert: Alert) -> int:
    severity = alert.labels.get("severity")
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def why(alert: Alert) -> Text:
    said = alert.annotations
    text = Text(plain(said.get("summary", "")), style="bold")
    for name in ("description", "runbook"):
        if said.get(name):
            text.append("\n" + plain(said[name], limit=400), style="not bold")
    return text


def ago(since: datetime) -> str:
    minutes, seconds = divmod(int((datetime.now(UTC) - since).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
