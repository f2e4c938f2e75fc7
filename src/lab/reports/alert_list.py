"""Print alerts: first those that notify somebody, then suppressed and pending ones."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.clients.alertmanager import WATCHDOG, Alertmanager, describe_silence
from lab.clients.prometheus import Alert, Prometheus
from lab.console import duration, plain
from lab.errors import UserError

FIRING, PENDING = "firing", "pending"
# Not sent: it fires, but has not reached Alertmanager. Info: it notifies nobody.
STATES = (FIRING, "not sent", "info", "inhibited", "silenced", PENDING)
STYLES = {FIRING: "bold red", "not sent": "red", PENDING: "yellow"}
SEVERITIES = ("page", "ticket", "none")


def show(console: Console, prometheus: Prometheus, alertmanager: Alertmanager) -> None:
    """Print the active alerts of Prometheus, with what Alertmanager does with each.

    Raise UserError after them if Alertmanager does not answer.
    """
    alerts = prometheus.active_alerts()
    try:
        received, silences = alertmanager.alerts(), alertmanager.silences()
    except UserError as error:
        _print_alerts(console, alerts, [])
        raise UserError(f"{error.message} Nobody is notified of alerts.") from error
    _print_alerts(console, alerts, received)
    for silence in silences:
        ends = datetime.fromisoformat(silence["endsAt"]).astimezone(UTC)
        console.print(
            f"{plain(describe_silence(silence))} is silenced until {ends:%Y-%m-%d %H:%M:%S} UTC "
            f"({plain(silence['comment'])}, by {plain(silence['createdBy'])})."
        )
    if not any(alert["labels"].get("alertname") == WATCHDOG for alert in received):
        console.print(
            "The watchdog does not reach Alertmanager, so no alert would notify anybody. If the "
            "stack has just started, try again in a few seconds; otherwise see `just status`."
        )


@dataclass(frozen=True)
class ListedAlert:
    """An active alert, and what Alertmanager does with it."""

    name: str
    state: str
    inhibited_by: list[str]
    since: datetime
    labels: dict[str, str]
    annotations: dict[str, str]


def read(prometheus: Prometheus, alertmanager: Alertmanager) -> list[ListedAlert]:
    """Return the active alerts except Watchdog, in the order in which `show` prints them."""
    rows = _rows(prometheus.active_alerts(), alertmanager.alerts())
    return [
        ListedAlert(alert.name, state, inhibitors, alert.since, alert.labels, alert.annotations)
        for state, inhibitors, alert in rows
    ]


def _rows(
    alerts: list[Alert], received: list[dict[str, Any]]
) -> list[tuple[str, list[str], Alert]]:
    return sorted(
        ((*alert_state(alert, received), alert) for alert in alerts if alert.name != WATCHDOG),
        key=lambda row: (STATES.index(row[0]), _rank(row[2]), row[2].name, row[2].since),
    )


def _print_alerts(console: Console, alerts: list[Alert], received: list[dict[str, Any]]) -> None:
    if rows := _rows(alerts, received):
        console.print(_table(rows))
    else:
        console.print("No alerts are active.")


def alert_state(alert: Alert, received: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Return what becomes of an alert, and which alerts inhibit it."""
    if not alert.firing:
        return PENDING, []
    match = next((one for one in received if one["labels"] == alert.labels), None)
    if match is None:
        return "not sent", []
    if match["status"]["silencedBy"]:
        return "silenced", []
    if inhibitors := match["status"]["inhibitedBy"]:
        names = {one["fingerprint"]: one["labels"]["alertname"] for one in received}
        sources = {names.get(fingerprint, fingerprint) for fingerprint in inhibitors}
        return "inhibited", sorted(sources)
    return ("info" if alert.labels.get("severity") == "none" else FIRING), []


def _table(rows: list[tuple[str, list[str], Alert]]) -> Table:
    table = Table("State", "Severity", "Since", "Alert", "Details", box=None, pad_edge=False)
    now = datetime.now(UTC)
    for state, inhibitors, alert in rows:
        seconds = (now - alert.since).total_seconds()
        by = f"\nby {plain(', '.join(inhibitors))}" if inhibitors else ""
        table.add_row(
            Text(state + by, style=STYLES.get(state, "")),
            plain(alert.labels.get("severity", "")),
            f"{alert.since.astimezone(UTC):%H:%M:%S}\n{duration(seconds)}",
            plain(alert.name),
            _details(alert),
        )
    return table


def _rank(alert: Alert) -> int:
    severity = alert.labels.get("severity")
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _details(alert: Alert) -> Text:
    text = Text(plain(alert.annotations.get("summary", "")), style="bold")
    for name in ("description", "runbook_url"):
        if alert.annotations.get(name):
            text.append("\n" + plain(alert.annotations[name], limit=400), style="not bold")
    return text
