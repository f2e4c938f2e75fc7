"""`just alerts`, `just silence` and `just unsilence`: what fires, and what shall call nobody."""

import click

from observability.alerts import objectives, table
from observability.alerts.alertmanager import Alertmanager, seconds_of
from observability.alerts.prometheus import active_alerts, known_alerts
from observability.cli import the_bundle
from observability.runs import terminal


@click.group()
def main() -> None:
    """Show and silence the alerts of the bundle."""


@main.command()
def show() -> None:
    """Show what fires or is about to, since when and why, and what is silenced or inhibited."""
    bundle = the_bundle()
    alerts = active_alerts(bundle.prometheus_url)
    alertmanager = Alertmanager(bundle.alertmanager_url)
    table.show(terminal.console(), alerts, alertmanager.alerts(), alertmanager.silences())


@main.command()
@click.argument("duration")
@click.argument("alertname", required=False)
def silence(duration: str, alertname: str | None) -> None:
    """Let ALERTNAME, or every alert, call nobody for DURATION, such as 30m or 1h30m."""
    seconds = seconds_of(duration)
    bundle = the_bundle()
    known = known_alerts(bundle.prometheus_url)
    if alertname and alertname not in known:
        raise click.ClickException(
            f"There is no alert called {alertname!r}; expected one of {', '.join(known)}."
        )
    ends = Alertmanager(bundle.alertmanager_url).silence(seconds, alertname)
    click.echo(
        f"{alertname or 'Every alert but the watchdog'} calls nobody until "
        f"{ends:%Y-%m-%d %H:%M:%S} UTC.\n"
        "`just alerts` still shows what fires; `just unsilence` ends it now."
    )


@main.command()
def unsilence() -> None:
    """End every silence that `just silence` made."""
    ended = Alertmanager(the_bundle().alertmanager_url).unsilence()
    for name in ended:
        click.echo(f"{name} calls again.")
    if not ended:
        click.echo("Nothing was silenced by `just silence`.")


@main.command()
def rules() -> None:
    """Write the rules that come from performance/slo.json."""
    objectives.FILE.write_text(objectives.text())


if __name__ == "__main__":
    main(prog_name="python -m observability.alerts")
