"""The command line behind `just`: the stack, runs, alerts and generated files."""

import json
import os
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

import click
import msgspec
from rich.table import Table
from rich.text import Text

from lab import development, doctor, run_commands
from lab.clients import tempo_or_jaeger
from lab.clients.alertmanager import Alertmanager, parse_duration
from lab.clients.grafana_api import GrafanaApi, read_token
from lab.clients.prometheus import Prometheus
from lab.clients.trace_store import TraceStoreError, complete_trace_id
from lab.console import echo, make_console, plain, print_json, say, short_path
from lab.dashboards import publish
from lab.errors import UserError
from lab.promql.selectors import SERVICE
from lab.reports import alert_list, trace_log, waterfall
from lab.reports.live import watch
from lab.reports.run_report import Form
from lab.reports.run_report import report as print_report
from lab.runs import k6, record, start
from lab.runs.record import Record
from lab.runs.run_list import UnknownRunError
from lab.stack import backup, log_lines, programs
from lab.stack.base import UP, Stack
from lab.stack.config import API_ROLE, StackConfig
from lab.stack.select import choose

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run the clinic with its telemetry, load-test it, and read runs back.

    The stack runs in Docker where an engine answers, otherwise as native processes;
    STACK_BACKEND=docker or native chooses. Ports are set by CLINIC_PORT, POSTGRES_PORT,
    PROMETHEUS_PORT, TRACES_PORT, OTLP_PORT, ALERTMANAGER_PORT and GRAFANA_PORT; the folder of data,
    logs and the database's password by CLINIC_STATE_DIR.
    """


def selected_stack() -> Stack:
    return choose(StackConfig.from_env())


@cli.command()
def up() -> None:
    """Start the stack.

    Starts what is not running, restarts what has changed, and prints the address of each service.
    """
    if os.environ.get("OTEL_SERVICE_NAME", "") not in ("", SERVICE):
        say(
            f"OTEL_SERVICE_NAME is ignored: alerts, dashboards and reports know the API as "
            f"{SERVICE}. OTEL_RESOURCE_ATTRIBUTES may set service.namespace."
        )
    config = StackConfig.from_env()
    doctor.require(config)
    choose(config).up()


@cli.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def examine(*, as_json: bool) -> None:
    """Check this machine and the variables of this shell.

    Exits with 1 if something would stop `just up`.
    """
    findings = list(doctor.examine(StackConfig.from_env(), doctor.CHECKS))
    if as_json:
        print_json(findings)
    else:
        doctor.show(findings)
    sys.exit(int(any(finding.state == doctor.State.ERROR for finding in findings)))


@cli.command()
def down() -> None:
    """Stop every service; the data stays."""
    selected_stack().down()


@cli.command()
@click.argument("service")
def restart(service: str) -> None:
    """Restart SERVICE with its current code and configuration.

    Before the API starts, the database is migrated.
    """
    selected_stack().restart(service)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(*, as_json: bool) -> None:
    """Show the state of each service.

    Exits with 0 only if all services are up.
    """
    states = selected_stack().states()
    all_up = bool(states) and all(service.state == UP for service in states)
    if as_json:
        print_json(states)
    elif not states:
        echo("Nothing is running; `just up` starts the stack.")
    else:
        table = Table("service", "version", "state", "uptime", "address", box=None, pad_edge=False)
        for it in states:
            table.add_row(it.name, it.version, it.state, it.uptime, it.address)
        make_console().print(table)
        if not all_up:
            echo("`just up` starts what is not running; `just logs SERVICE` shows why.")
    sys.exit(int(not all_up))


@cli.command()
@click.option("--port", default=8001, show_default=True, help="Port to serve on.")
def dev(port: int) -> None:
    """Serve the API with reload on change.

    It runs from src/clinic, on the database of the running stack.
    """
    doctor.require(StackConfig.from_env())
    development.serve_with_reload(
        StackConfig.from_env(), selected_stack().database_url(API_ROLE), port
    )


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database of the running stack.

    ARGUMENTS are psql's.
    """
    development.open_psql(selected_stack().database_url(), arguments)


@cli.command("backup")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def write_backup(file: Path | None) -> None:
    """Write all rows of the running stack to FILE.

    The default is a file in backups/, named by the time. No file is replaced. Only its user can
    read it: it holds names, e-mail addresses, phone numbers and notes.
    """
    file = file or backup.new_file()
    url = selected_stack().database_url()
    counts = backup.rows(url)
    size = backup.write(url, file)
    echo(
        f"Backed up {backup.in_words(counts)} to {short_path(file)} ({backup.megabytes(size)}); "
        "it holds personal data."
    )


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def restore(file: Path, *, yes: bool) -> None:
    """Replace all rows of the running stack by those of FILE.

    The rows that it replaces are backed up first. The API is stopped meanwhile; the database is
    migrated before it starts again. If FILE cannot be restored, nothing is changed.
    """
    stack = selected_stack()
    backup.check(file)
    url = stack.database_url()
    counts = backup.rows(url)
    has_rows = any(counts.values())
    question = f"Replace {backup.in_words(counts)} by the rows of {file}?"
    if has_rows and not yes and not click.confirm(question):
        echo("Nothing was restored.")
        return
    with stack.without_api():
        if has_rows:
            before = backup.new_file("before-restore")
            backup.write(url, before)
            echo(f"The rows until now are in {short_path(before)}.")
        backup.restore(url, file)
    echo(f"Restored {backup.in_words(backup.rows(url))} from {file}.")


@cli.command()
@click.argument("message")
def migration(message: str) -> None:
    """Write a migration named MESSAGE.

    It holds the difference between src/clinic/models.py and the database of the running stack.
    """
    development.write_migration(StackConfig.from_env(), selected_stack().database_url(), message)


@cli.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def downgrade(revision: str, *, yes: bool) -> None:
    """Return the database of the running stack to the schema REVISION, such as 0004.

    For an older version of the API: until that one is started, requests that write are refused.
    """
    stack = selected_stack()
    url = stack.database_url()
    if not yes and not click.confirm(
        f"Return to the schema {revision}? What it cannot hold is lost (docs/running.md, "
        "Migrations); `just backup` keeps it."
    ):
        echo("Nothing was changed.")
        return
    development.downgrade(StackConfig.from_env(), url, revision)


@cli.command()
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines until Ctrl-C.")
@click.option("-n", "--lines", type=int, help="Last lines of each log (default: 50; of all, 10).")
@click.option(
    "--trace", "trace_id", metavar="ID", help="All lines of a trace; its first digits are enough."
)
def logs(service: str | None, *, follow: bool, lines: int | None, trace_id: str | None) -> None:
    """Print the last log lines of SERVICE, or of all in the order of time.

    Lines of all services have their time in UTC, their level and their message only.
    """
    stack = selected_stack()
    if trace_id:
        _, of_trace = log_lines.find_trace(stack.log_lines(service), trace_id)
        trace_log.show(make_console(), of_trace, traceback=True)
        return
    if lines is None:
        lines = 50 if service else 10
    stack.logs(service, lines, follow=follow)


@cli.command()
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def destroy(*, yes: bool) -> None:
    """Stop every service and remove all data.

    The data are rows, metrics, traces, logs and the database's password.
    """
    stack = selected_stack()
    data = stack.data()
    if not data:
        echo("There is no data to remove.")
        return
    if not yes and not click.confirm(f"Permanently remove all data of the stack in {data}?"):
        echo("Nothing was removed.")
        return
    stack.destroy()
    echo(f"Removed the data in {data}.")


@cli.command()
@click.argument("profile", type=click.Choice(start.PROFILES))
@click.option(
    "--journey",
    type=click.Choice(start.JOURNEYS),
    envvar="JOURNEY",
    default="book",
    show_default=True,
    help="What the clients do; the variable JOURNEY sets it too.",
)
@click.option(
    "--without-prometheus", is_flag=True, help="Print k6's own summary only and store nothing."
)
@click.option(
    "--live",
    is_flag=True,
    help="Serve k6's own dashboard and keep the run's report page current, to watch it meanwhile.",
)
@click.option(
    "--generators",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Divide the load among this many k6 processes; all of them together are judged.",
)
@run_commands.JUNIT
def run(  # noqa: PLR0913 - what the command line has
    profile: str,
    journey: str,
    *,
    without_prometheus: bool,
    live: bool,
    generators: int,
    junit: Path | None,
) -> None:
    """Run the load test PROFILE and report it.

    The target is the stack's API, or BASE_URL. RUN names the run; DURATION, RATE and VUS change
    the length and amount of the load. Exits with k6's status; of several generators with that of
    one that did not make its load, else with 0 if the run passed, and 99 if it failed.
    """
    config = StackConfig.from_env()
    test = start.prepare(
        config,
        profile,
        journey,
        without_prometheus=without_prometheus,
        with_dashboard=live,
        generators=generators,
    )
    by = f" by {generators} generators" if generators > 1 else ""
    echo(f"Run {test.run_id} against {test.target}{by}")
    with watch(config, test, live=live) as page:
        statuses, environment = start.execute(config, test, page)
    status = k6.status_of_all(statuses)
    if generators == 1:
        echo(k6.describe_status(status))
    if environment:
        try:
            reported = print_report(config, test.run_id, environment, Form(junit=junit))
            if generators > 1 and status in k6.JUDGED:
                status = 0 if reported.verdict == "passed" else k6.THRESHOLDS_FAILED
        except UnknownRunError:
            which = "that of PROMETHEUS_URL" if config.prometheus.is_remote else "Prometheus"
            echo(f"No metrics of this run reached {which}, so there is no report.")
        except UserError as error:
            error.show()
    elif not without_prometheus:
        echo(
            f"Its metrics went to {k6.describe_output(test.settings)}, not to the stack's "
            "Prometheus, so there is no report; PROMETHEUS_URL says where to read it."
        )
    sys.exit(status if status >= 0 else 128 - status)


@cli.command()
@click.argument("trace_id", metavar="ID")
def trace(trace_id: str) -> None:
    """Print a trace as a waterfall, and its lines in the API's log.

    The first digits of its id are enough.
    """
    with tempo_or_jaeger.connect(StackConfig.from_env().trace_store) as store:
        full_id = complete_trace_id(store, trace_id, record.saved_trace_ids())
        spans = store.spans(full_id)
    if not spans:
        raise TraceStoreError(f"{store.name} has no trace {full_id}: traces are kept for one day.")
    console = make_console()
    waterfall.show(console, full_id, spans)
    with suppress(UserError):
        _, lines = log_lines.find_trace(selected_stack().log_lines("api"), full_id)
        console.print(Text(f"\nLog (`just logs --trace {full_id[:8]}` has tracebacks)"))
        trace_log.show(console, lines, traceback=False)


@cli.command()
def schema() -> None:
    """Print the JSON schema of RUN.json."""
    echo(json.dumps(msgspec.json.schema(Record), indent=2))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def alerts(*, as_json: bool) -> None:
    """Show firing and pending alerts.

    Shows since when and why they fire, and which are silenced or inhibited.
    """
    config = StackConfig.from_env()
    with (
        Prometheus(config.prometheus_url) as prometheus,
        Alertmanager(config.alertmanager_url) as alertmanager,
    ):
        if as_json:
            print_json(alert_list.read(prometheus, alertmanager))
        else:
            alert_list.show(make_console(), prometheus, alertmanager)


@cli.command()
@click.argument("duration")
@click.argument("alertname", required=False)
def silence(duration: str, alertname: str | None) -> None:
    """Silence ALERTNAME, or every alert except Watchdog.

    DURATION is a time of up to 7d, such as 30m or 1h30m.
    """
    length = parse_duration(duration)
    config = StackConfig.from_env()
    with Prometheus(config.prometheus_url) as prometheus:
        names = prometheus.alert_names()
    if alertname and alertname not in names:
        raise UserError(f"There is no alert {alertname!r}; expected one of {', '.join(names)}.")
    with Alertmanager(config.alertmanager_url) as alertmanager:
        ends = alertmanager.silence(length, alertname)
    echo(
        f"{alertname or 'Every alert except Watchdog'} is silenced until "
        f"{ends:%Y-%m-%d %H:%M:%S} UTC.\n"
        "`just alerts` still shows what fires; `just unsilence` ends the silence."
    )


@cli.command()
def unsilence() -> None:
    """End the silences of `just silence`."""
    with Alertmanager(StackConfig.from_env().alertmanager_url) as alertmanager:
        ended = alertmanager.unsilence()
    for name in ended:
        echo(f"{plain(name)} is no longer silenced.")
    if not ended:
        echo("No silence made by `just silence` is active.")


@cli.command()
def build() -> None:
    """Build the programs that PATH does not have.

    `up` builds those it needs, too.
    """
    programs.build_missing()


@cli.command("publish")
@click.option("--grafana", metavar="URL", help="Address of the Grafana.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File with the token of a service account that has the role Editor.",
)
@click.option(
    "--folder", default="vet-clinic", show_default=True, metavar="UID", help="The folder's uid."
)
@click.option(
    "--folder-title",
    default="Vet clinic",
    show_default=True,
    metavar="TITLE",
    help="The folder's title, if it does not exist.",
)
@click.option("--prometheus", metavar="NAME", help="Data source of metrics: its name or uid.")
@click.option("--tempo", metavar="NAME", help="Data source of traces: its name or uid.")
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would change.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write files to import by hand instead, which ask for the data sources.",
)
def publish_dashboards(  # noqa: PLR0913 - a command's options
    *,
    grafana: str | None,
    token_file: Path | None,
    folder: str,
    folder_title: str,
    prometheus: str | None,
    tempo: str | None,
    dry_run: bool,
    output: Path | None,
) -> None:
    """Publish the dashboards to another Grafana.

    Creates what it lacks and updates what differs, by its HTTP API; a second time changes nothing.
    """
    if output and not grafana:
        publish.write_files(output)
        return
    if output or not grafana:
        raise UserError("Give --grafana URL or --output FOLDER.")
    sources = {"prometheus": prometheus, "tempo": tempo}
    target = publish.Target(
        folder, folder_title, {kind: name for kind, name in sources.items() if name}
    )
    with GrafanaApi(grafana, read_token(token_file) if token_file else "") as api:
        publish.publish(api, target, dry_run=dry_run)


@cli.command("rules")
@click.argument("kind", type=click.Choice(["mimir", "prometheus-operator"]))
@click.option("--grafana", metavar="URL", default="", help="Grafana, for links to dashboards.")
@click.option("--runbook", metavar="URL", default="", help="The runbook's page, for links to it.")
@click.option(
    "--namespace",
    help="Default: vet-clinic in Mimir, clinic in Kubernetes, as in deploy/kubernetes.",
)
@click.option(
    "--label",
    "labels",
    metavar="NAME=VALUE",
    multiple=True,
    help="By which the operator's Prometheus selects rules; "
    "that of kube-prometheus-stack by default.",
)
def export_rules(
    kind: str, grafana: str, runbook: str, namespace: str | None, labels: tuple[str, ...]
) -> None:
    """Print the rules for a Prometheus of your own, with links to your addresses.

    KIND is mimir, also for Grafana Cloud, or prometheus-operator.
    """
    # grafana-foundation-sdk is a development dependency.
    from lab.rules import export  # noqa: PLC0415

    links = export.Links(export.address(grafana), export.address(runbook))
    if kind == "mimir":
        if labels:
            raise UserError("Only rules for prometheus-operator have a --label.")
        text = export.mimir(links, namespace or export.NAME)
    else:
        selected_by = export.selector(labels) or export.SELECTED_BY
        text = export.prometheus_rule(links, namespace or export.KUBERNETES_NAMESPACE, selected_by)
    echo(text.rstrip())


@cli.command()
def generate() -> None:
    """Write all dashboards and rules, and what docs/dashboards.md says of panels."""
    # grafana-foundation-sdk is a development dependency.
    from lab import generated  # noqa: PLC0415
    from lab.dashboards import document  # noqa: PLC0415
    from lab.dashboards import generate as dashboards  # noqa: PLC0415
    from lab.rules import generate as rules  # noqa: PLC0415

    dashboards.write_all()
    generated.write(document.FILE, document.render())
    rules.write_all()


for command in run_commands.COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run a command; end with 130 on Ctrl-C or SIGTERM, 1 if nobody reads the output."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # an encoding need not have every character
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            run_command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # click handles it within a command
        # Python flushes the output once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def run_command() -> None:
    try:
        sys.exit(cli.main(prog_name="lab", standalone_mode=False))
    except (click.Abort, KeyboardInterrupt):
        echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        raise
    except OSError as error:
        echo(f"Error: {error}", err=True)
        sys.exit(1)
