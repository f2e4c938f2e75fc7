"""k6 in its container, told the same as the one of this machine would be."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from observability.bundle import PROJECT, Bundle, BundleError
from observability.containers.engine import Engine

PERFORMANCE = PROJECT / "performance"
SCRIPT = "/performance/k6-load-test.js"
LOCAL = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
API = "http://api:8000"
REMOTE_WRITE = "http://prometheus:9090/api/v1/write"


def command(bundle: Bundle, settings: Mapping[str, str]) -> list[str]:
    """Give the command that runs the project's script; values go by the environment."""
    names = [name for name in sorted(settings) if name.startswith("K6_") or name in script_words()]
    passed = [word for name in names for word in ("--env", name)]
    moved = addresses(bundle, settings)
    passed += [word for name, value in moved.items() for word in ("--env", f"{name}={value}")]
    run = ("run", "--rm", "--no-deps", "--no-TTY", *passed, "k6", "run", SCRIPT)
    return Engine(bundle).compose("--progress", "quiet", *run)


def addresses(bundle: Bundle, settings: Mapping[str, str]) -> dict[str, str]:
    """Name the bundle's parts as containers reach them; all else stays as it is given."""
    moved = {}
    target = settings["BASE_URL"]
    if target == bundle.api_url:
        moved["BASE_URL"] = API
    elif LOCAL.fullmatch(urlsplit(target).hostname or ""):
        raise BundleError(
            f"k6 runs in a container, where {target} is the container itself. "
            "CLINIC_BUNDLE=native runs k6 on this machine; the report is the same."
        )
    else:
        moved["CONFIRM_TARGET"] = settings.get("CONFIRM_TARGET", "")
    if settings.get("K6_PROMETHEUS_RW_SERVER_URL") == bundle.remote_write_url:
        moved["K6_PROMETHEUS_RW_SERVER_URL"] = REMOTE_WRITE
    return moved


def script_words() -> set[str]:
    """List the names that the script may ask its environment for."""
    sources = (path.read_text() for path in PERFORMANCE.rglob("*.js"))
    return {word for source in sources for word in re.findall(r"\b[A-Z][A-Z0-9_]+\b", source)}
