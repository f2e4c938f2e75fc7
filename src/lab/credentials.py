"""Generate the credentials of the stack's services, as files in a folder.

Prometheus, Alertmanager, Jaeger and the exporters require a password. Tempo and the OTLP receivers
cannot, so they serve below a secret path. The gateway has both.

A container runs this file alone (service `password`), so it imports bcrypt and the standard
library.
"""

import os
import secrets
from pathlib import Path

import bcrypt

USER = "vet-clinic"
PASSWORD = "password"  # noqa: S105 - a file's name
TRACES_PATH = "traces-path"
WEB_CONFIG = "web.yml"
"""`--web.config.file` of Prometheus, Alertmanager and the exporters."""
TRACES_PATH_VARIABLE = "${TRACES_PATH}"
"""The placeholder of the path in tempo.yaml."""
# The password has 192 random bits, so no dictionary contains it; a slower hash would only slow down
# each request.
ROUNDS = 4


def write(folder: Path, mode: int = 0o600) -> None:
    """Generate the files that are missing."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (PASSWORD, TRACES_PATH):
        write_once(folder / name, secrets.token_hex(24), mode)
    if not (folder / WEB_CONFIG).exists():
        password = (folder / PASSWORD).read_bytes()
        hashed = bcrypt.hashpw(password, bcrypt.gensalt(ROUNDS)).decode()
        write_file(folder / WEB_CONFIG, f"basic_auth_users:\n  {USER}: {hashed}\n", mode)


def write_once(path: Path, text: str, mode: int) -> None:
    """Create a file atomically, unless it exists."""
    if not path.exists():
        write_file(path, text, mode)


def write_file(path: Path, text: str, mode: int) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    fresh.chmod(mode)  # whatever the umask
    fresh.rename(path)


def write_for_containers(root: Path) -> None:
    """Write the files of each volume in compose.yaml; each password of PostgreSQL has its own."""
    mode = 0o440  # for the group that the services are members of
    for volume in ("clinic", "api", "monitor"):
        write_once(root / "run" / volume / "postgres-password", secrets.token_hex(24), mode)
    web = root / "run" / "web"
    write(web, mode)
    # Tempo's image has no shell that could read the path into a variable.
    template = (root / "etc" / "tempo" / "tempo.yaml").read_text()
    path = (web / TRACES_PATH).read_text()
    write_file(web / "tempo.yaml", template.replace(TRACES_PATH_VARIABLE, path), mode)


if __name__ == "__main__":
    write_for_containers(Path("/"))
