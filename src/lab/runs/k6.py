"""The k6 that runs the load: its settings, its command, its exit status."""

import re
import signal
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.addresses import shown_address, shown_outputs
from lab.errors import UserError
from lab.paths import PERFORMANCE
from lab.stack import docker_k6
from lab.stack.config import HOST, StackConfig
from lab.stack.ports import free as free_port
from lab.stack.programs import find, version_text
from lab.stack.select import in_docker

SCRIPT = PERFORMANCE / "k6-load-test.js"
SETTINGS = PERFORMANCE / "k6.env"
REMOTE_WRITE = "experimental-prometheus-rw"
HEADERS = "K6_PROMETHEUS_RW_HTTP_HEADERS"
TAG = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*[=:]\s*([^\s:][^:]*)")
# Labels that k6 or its script sets.
RESERVED_TAGS = frozenset(
    {"testid", "name", "scenario", "status", "expected_response", "group", "check"}
    | {"journey", "profile", "operation", "kind", "instance", "metric", "threshold"}
    | {"error_code", "title", "result"}
)

# Variables of k6 with which it would not run the profile, or would not judge the run.
REFUSED = {
    **dict.fromkeys(
        ("K6_VUS", "K6_DURATION", "K6_ITERATIONS", "K6_STAGES"),
        "it replaces the load of the profile; RATE, VUS and DURATION change it",
    ),
    **dict.fromkeys(
        ("K6_NO_THRESHOLDS", "K6_THRESHOLDS", "K6_NEW_MACHINE_READABLE_SUMMARY"),
        "the run would not be judged by its limits",
    ),
    "K6_NO_SUMMARY": "k6 does not know it any more, and a run needs its summary",
    "K6_NO_SETUP": "the script needs its setup",
    "K6_NO_TEARDOWN": "the run would have no end",
    "K6_PAUSED": "k6 would wait forever before the load",
    "K6_LINGER": "k6 would wait forever after the load",
    "K6_THROW": "failed requests would count as errors of the script",
    "K6_TYPE": "the project's script is of one type",
}
FALSE = {"", "0", "f", "false"}
STACK_FEATURES = ("native-histograms", "merge-run-tags")

# Each may be in a file, which a variable of the same name and `_FILE` names.
SECRETS = ("CLINIC_API_TOKEN", "K6_PROMETHEUS_RW_PASSWORD", "K6_PROMETHEUS_RW_BEARER_TOKEN")

THRESHOLDS_FAILED = 99
INTERRUPTED = 105
# The exit statuses of a k6 that has made its load.
JUDGED = (0, THRESHOLDS_FAILED)
EXIT_STATUSES = {
    0: "all thresholds passed",
    97: "k6 could not reach Grafana Cloud",
    THRESHOLDS_FAILED: "a threshold failed",
    104: "k6 rejected its configuration",
    INTERRUPTED: "the run was interrupted",
    107: "the script failed, see k6's message above",
    108: "the script stopped the run, see k6's message above",
    110: "the script marked the run as failed",
}


def check_variables(given: Mapping[str, str]) -> None:
    """Raise if a variable of k6 would falsify the run or its verdict."""
    for name, reason in REFUSED.items():
        if given.get(name, "").lower() not in FALSE:
            raise UserError(f"{name} is set: {reason}. Unset it, or run k6 by hand.")
    if given.get("K6_SUMMARY_MODE") == "disabled":
        raise UserError("K6_SUMMARY_MODE is disabled: the run would have no verdict. Unset it.")
    if (given.get("K6_INCLUDE_SYSTEM_ENV_VARS") or "true").lower() in FALSE:
        raise UserError(
            "K6_INCLUDE_SYSTEM_ENV_VARS is false: the script would not get its settings. Unset it."
        )
    for output in given.get("K6_OUT", "").split(","):
        if output.startswith(f"{REMOTE_WRITE}="):
            raise UserError(
                f"K6_OUT has an address after {REMOTE_WRITE}, which k6 ignores: set "
                "K6_PROMETHEUS_RW_SERVER_URL to it instead."
            )
    check_list(given, "K6_SYSTEM_TAGS", default_settings()["K6_SYSTEM_TAGS"].split(","))
    # Another Prometheus need not accept native histograms.
    own = not given.get("K6_PROMETHEUS_RW_SERVER_URL")
    check_list(given, "K6_FEATURES", STACK_FEATURES if own else STACK_FEATURES[1:])


def check_list(given: Mapping[str, str], name: str, required: Sequence[str]) -> None:
    """Raise if a variable is set and lacks one of the names that reports need."""
    has = [item.strip() for item in given.get(name, "").split(",")]
    missing = [item for item in required if item not in has]
    if given.get(name) and missing:
        raise UserError(f"{name} lacks {', '.join(missing)}, which reports need. Add it.")


def default_settings() -> dict[str, str]:
    """Read k6.env, the settings of every run."""
    lines = SETTINGS.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def run_settings(
    run_id: str, profile: str, target: str, remote_write_url: str | None, given: Mapping[str, str]
) -> dict[str, str]:
    """Return k6's variables for a run; those `given` override k6.env and the address."""
    defaults = default_settings()
    if remote_write_url:
        defaults["K6_PROMETHEUS_RW_SERVER_URL"] = remote_write_url
    else:
        defaults["K6_OUT"] = ""
    settings = {name: given.get(name) or value for name, value in defaults.items()}
    if given.get("K6_TAGS"):
        tags = parse_tags(given["K6_TAGS"])
        settings["K6_TAGS"] = ",".join(f"{name}:{value}" for name, value in tags.items())
    own = {"BASE_URL": target, "PROFILE": profile, "RUN_ID": run_id}
    secrets = secrets_in_files(given)
    return settings | secrets | credentials_header({**given, **secrets}) | own


def credentials_header(given: Mapping[str, str]) -> dict[str, str]:
    """Add user and password to the headers of remote write, if there are any.

    k6 sends either its headers or its user and password.
    """
    headers, user = given.get(HEADERS), given.get("K6_PROMETHEUS_RW_USERNAME")
    if not headers or not user:
        return {}
    password = given.get("K6_PROMETHEUS_RW_PASSWORD", "")
    encoded = b64encode(f"{user}:{password}".encode()).decode()
    return {HEADERS: f"{headers},Authorization:Basic {encoded}"}


def secrets_in_files(given: Mapping[str, str]) -> dict[str, str]:
    """Read secrets from files, such as CLINIC_API_TOKEN_FILE: k6 takes them from variables."""
    return {name: _secret(given, f"{name}_FILE") for name in SECRETS if _is_in_file(given, name)}


def _is_in_file(given: Mapping[str, str], name: str) -> bool:
    return bool(given.get(f"{name}_FILE")) and not given.get(name)


def _secret(given: Mapping[str, str], name: str) -> str:
    try:
        return Path(given[name]).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: {given[name]} cannot be read ({error}).") from error


def dashboard_settings(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which k6 serves its own dashboard; those `given` count."""
    port = given.get("K6_WEB_DASHBOARD_PORT") or str(free_port())
    host = given.get("K6_WEB_DASHBOARD_HOST") or HOST
    return {
        "K6_WEB_DASHBOARD": "true",
        "K6_WEB_DASHBOARD_HOST": host,
        "K6_WEB_DASHBOARD_PORT": port,
    }


def dashboard_address(settings: Mapping[str, str]) -> str:
    return f"http://{settings['K6_WEB_DASHBOARD_HOST']}:{settings['K6_WEB_DASHBOARD_PORT']}/"


def parse_tags(text: str) -> dict[str, str]:
    """Parse K6_TAGS, written `env=qa,owner=me` or as k6 itself expects, `env:qa,owner:me`."""
    tags = {}
    for tag in filter(None, (part.strip() for part in text.split(","))):
        match = TAG.fullmatch(tag)
        if not match:
            raise UserError(
                f"K6_TAGS contains {tag!r}; expected names and values such as env=qa,owner=me, "
                "without colons in a value."
            )
        name, value = match.groups()
        if is_reserved(name):
            raise UserError(
                f"K6_TAGS sets {name!r}, a label that the run's own metrics use: choose another "
                "name."
            )
        tags[name] = value
    return tags


def is_reserved(label: str) -> bool:
    """Tell whether k6, its script or Prometheus set a label of a run's metrics."""
    return label in RESERVED_TAGS or label.startswith(("__", "k6_"))


def remote_write_url(given: Mapping[str, str], stack_url: str) -> str | None:
    """Return where k6 pushes its metrics; None if K6_OUT names other outputs only."""
    outputs = given.get("K6_OUT")
    if outputs and REMOTE_WRITE not in outputs.split(","):
        return None
    return given.get("K6_PROMETHEUS_RW_SERVER_URL") or stack_url


def describe_output(settings: Mapping[str, str]) -> str:
    """Name where k6 sends its metrics, without credentials."""
    if REMOTE_WRITE not in settings["K6_OUT"].split(","):
        return shown_outputs(settings["K6_OUT"])
    return shown_address(settings["K6_PROMETHEUS_RW_SERVER_URL"])


def segment_arguments(number: int, count: int) -> list[str]:
    """Return the arguments by which one of some generators makes its part of the load."""
    bounds = [f"{part}/{count}" for part in range(count + 1)]
    bounds[0], bounds[-1] = "0", "1"
    segment, sequence = ":".join(bounds[number - 1 : number + 1]), ",".join(bounds)
    return [f"--execution-segment={segment}", f"--execution-segment-sequence={sequence}"]


def check_shared(given: Mapping[str, str]) -> None:
    """Raise if several generators would write to one file, or compete for one port."""
    if given.get("GENERATOR"):
        raise UserError("GENERATOR is set, but --generators names them itself. Unset it.")
    for name in ("K6_SUMMARY_EXPORT", "K6_WEB_DASHBOARD"):
        if given.get(name, "").lower() not in FALSE:
            raise UserError(f"{name} is set, which generators cannot share. Unset it.")
    outputs = set(filter(None, given.get("K6_OUT", "").split(",")))
    if files := sorted(one for one in outputs if "=" in one):
        raise UserError(f"K6_OUT has {files[0]}, which generators cannot share. Take it out.")


def status_of_all(statuses: Sequence[int]) -> int:
    """Return the exit status of a run of some generators: the first one that is unusual."""
    unusual = [status for status in statuses if status not in JUDGED]
    return (unusual or [max(statuses)])[0]


def describe_status(status: int) -> str:
    """Explain k6's exit status."""
    if status < 0:
        return f"k6 was ended by {signal.Signals(-status).name}."
    return f"k6 ended with status {status}: {EXIT_STATUSES.get(status, 'see its message above')}."


def command(config: StackConfig, settings: Mapping[str, str], *arguments: str) -> list[str]:
    """Return the command that runs the load script, or does with it what the arguments say."""
    arguments = arguments or ("run",)
    if in_docker(config):
        return docker_k6.command(config, settings, *arguments)
    return [str(find("k6")), *arguments, str(SCRIPT)]


def find_pids(
    config: StackConfig, settings: Sequence[Mapping[str, str]], command_pids: list[int]
) -> Callable[[], list[int]]:
    """Return how to find the processes that run the load: all of them, or none if one is not here.

    Those in containers need not be on this machine.
    """
    if not in_docker(config):
        return lambda: command_pids

    def pids() -> list[int]:
        found = [docker_k6.pid(docker_k6.container_name(one)) for one in settings]
        return [pid for pid in found if pid] if all(found) else []

    return pids


def version(config: StackConfig) -> str:
    return docker_k6.version() if in_docker(config) else version_text("k6", find("k6"))
