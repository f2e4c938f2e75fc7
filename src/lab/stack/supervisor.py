"""supervisord, which runs the services of the native stack, and the calls to it."""

import hashlib
import os
import re
import resource
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack.config import HOST, write_private
from lab.stack.inherited import base_environment
from lab.stack.service import Service

# The kernel allows 108 bytes, macOS 104, and supervisord first binds NAME.PID.
LONGEST_SOCKET = 90
START_SECONDS = 20
STOP_SECONDS = 60
PID_FILE = "supervisord.pid"
POLL_SECONDS = 0.1
OPEN_FILES = 4096

# supervisord's process states and the fault codes that are handled here.
STARTING, RUNNING, BACKOFF, STOPPING, EXITED, UNKNOWN = 10, 20, 30, 40, 100, 1000
ALIVE = (STARTING, RUNNING)
BAD_NAME, NOT_RUNNING = 10, 70
# supervisord's configuration ends a value at a line break and has no escape for it.
UNREADABLE = re.compile(r"[\r\n]")
# It ends a value here, and at a blank at either end, too. An empty variable stands in between.
COMMENT = re.compile(r"(?<=\s)(?=[;#])|^(?=\s)|(?<=\s)$")
NOTHING = "VET_CLINIC_NOTHING"


@dataclass(frozen=True)
class Process:
    """supervisord's information about one service."""

    state: int
    pid: int
    seconds: int
    reason: str
    """Why it is not running."""

    @property
    def alive(self) -> bool:
        return self.state in ALIVE


class Supervisor:
    """supervisord on the files of one state folder, called through its socket."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.logs = state / "logs"
        self.config = state / "supervisord.conf"
        self.socket = socket_path(state)

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def running(self) -> bool:
        try:
            self.call("getState")
        except OSError:
            return False
        return True

    def launch(self, services: Iterable[Service]) -> None:
        """Start supervisord in the background, with all services configured and none started."""
        if self.socket.parent != self.state:
            make_private(self.socket.parent)
        write_private(self.config, self.configuration(services))
        output = self.log("supervisord-output")
        with output.open("w") as file:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**base_environment(), NOTHING: ""},
            )
        try:
            self.wait_until_running(process, output)
        except BaseException:
            process.terminate()
            process.wait()
            self.remove_socket()
            raise

    def wait_until_running(self, process: subprocess.Popen[bytes], output: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.running():
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(
                    "supervisord, which runs the services, did not start. Fix the error below and "
                    "run `just up` again.\n" + output.read_text().strip()
                )
            time.sleep(POLL_SECONDS)

    def reload(self, services: Iterable[Service]) -> None:
        """Make supervisord read the services' configuration again; `replace` applies it to one."""
        write_private(self.config, self.configuration(services))
        self.call("reloadConfig")

    def configuration(self, services: Iterable[Service]) -> str:
        sections = [
            section(
                "supervisord",
                nodaemon="true",
                silent="true",
                directory=str(PROJECT),
                umask="077",
                minfds=str(open_files()),
                logfile=str(self.log("supervisord")),
                logfile_maxbytes="5MB",
                logfile_backups="1",
                pidfile=str(self.state / PID_FILE),
                childlogdir=str(self.logs),
                **({"user": "root"} if os.geteuid() == 0 else {}),
            ),
            section("unix_http_server", file=str(self.socket), chmod="0700"),
            section(
                "rpcinterface:supervisor",
                **{
                    "supervisor.rpcinterface_factory": (
                        "supervisor.rpcinterface:make_main_rpcinterface"
                    )
                },
            ),
            *(self.program(service) for service in services),
        ]
        return "\n".join(sections)

    def program(self, service: Service) -> str:
        environment = {"HOME": str(self.state)} if service.user else {}
        environment |= service.environment
        return section(
            f"program:{service.name}",
            command=shlex.join(service.command),
            directory=service.folder,
            environment=",".join(assignment(*variable) for variable in environment.items()),
            autostart="false",
            autorestart="unexpected",
            startsecs="1",
            startretries="1000",  # with a pause that grows by 1 s: what stops it may pass
            stopsignal=service.stop_signal,
            stopwaitsecs=str(service.stop_seconds),
            killasgroup="true",
            redirect_stderr="true",
            # supervisor 4.3 expands this setting twice, and all others once.
            stdout_logfile=escaped(str(self.log(service.name))),
            stdout_logfile_maxbytes="10MB",
            stdout_logfile_backups="2",
            **({"user": service.user} if service.user else {}),
        )

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method of supervisord; raise OSError if it does not answer."""
        transport = SupervisorTransport(serverurl=f"unix://{self.socket}")
        try:
            proxy = xmlrpc.client.ServerProxy(f"http://{HOST}", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except (HTTPException, xmlrpc.client.ProtocolError) as error:
            raise ConnectionError(str(error)) from error
        finally:
            transport.close()

    def process(self, name: str) -> Process:
        try:
            info = self.call("getProcessInfo", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != BAD_NAME:
                raise
            return Process(UNKNOWN, 0, 0, "unknown to supervisord")
        seconds = int(info["now"] - info["start"])
        return Process(int(info["state"]), int(info["pid"]), seconds, down_reason(info))

    def start(self, name: str) -> None:
        try:
            self.call("startProcess", name, False)  # noqa: FBT003 - the protocol's "do not wait"
        except xmlrpc.client.Fault as fault:
            raise UserError(
                f"{name} cannot be started: {fault.faultString}. Fix the cause and run `just up` "
                "again."
            ) from fault

    def stop(self, name: str) -> float | None:
        """Stop a service; return the seconds that took, or None if it was not running."""
        started = time.monotonic()
        try:
            self.call("stopProcess", name, False)  # noqa: FBT003 - the protocol's "do not wait"
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in (NOT_RUNNING, BAD_NAME):
                return None
            raise
        while self.process(name).state in (*ALIVE, BACKOFF, STOPPING):
            time.sleep(POLL_SECONDS)
        return time.monotonic() - started

    def remove(self, name: str) -> None:
        """Forget a stopped service."""
        try:
            self.call("removeProcessGroup", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != BAD_NAME:
                raise

    def replace(self, name: str) -> None:
        """Give a stopped service the command line and environment that `reload` has read."""
        self.remove(name)
        self.call("addProcessGroup", name)

    def shutdown(self) -> None:
        """End supervisord with whatever it still runs, and remove its socket."""
        process = psutil.Process(self.call("getPID"))
        self.call("shutdown")
        try:
            process.wait(timeout=STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
        self.remove_socket()

    def remove_socket(self) -> None:
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.state and self.socket.parent.exists():
            self.socket.parent.rmdir()

    def orphans(self) -> list[psutil.Process]:
        """List services of this stack whose supervisord was killed."""
        url = f"unix://{self.socket}"
        orphans = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SUPERVISOR_SERVER_URL") == url:
                    orphans.append(process)
            except (psutil.Error, OSError):
                continue
        return orphans

    def end_orphans(self) -> list[str]:
        """End services whose supervisord was killed; return their names."""
        orphans = self.orphans()
        names = [process.name() for process in orphans if process.is_running()]
        for process in orphans:
            process.terminate()
        _, remaining = psutil.wait_procs(orphans, timeout=10)
        for process in remaining:
            process.kill()
        psutil.wait_procs(remaining, timeout=5)
        self.remove_socket()
        return sorted(names)


def open_files() -> int:
    """Return the limit of open files that services get, whatever the shell's own is.

    The API alone may have CLINIC_MAX_CONNECTIONS clients.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)


def down_reason(info: dict[str, Any]) -> str:
    if info["state"] == EXITED:
        status = info["exitstatus"]
        return f"exit code {status}" if status >= 0 else "killed by a signal"
    error = str(info["spawnerr"])
    return "exited at start" if error.startswith("Exited too quickly") else error or "stopped"


def socket_path(state: Path) -> Path:
    beside = state / "supervisor.sock"
    if len(os.fsencode(beside)) <= LONGEST_SOCKET:
        return beside
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    return Path("/tmp") / f"vet-clinic-{os.getuid()}-{digest}" / "supervisor.sock"  # noqa: S108 - made private before use


def make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to another user; remove it and try again.")
    folder.chmod(0o700)


def section(name: str, **settings: str) -> str:
    lines = [f"[{name}]", *(f"{key}={escaped(value)}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"


def assignment(name: str, value: str) -> str:
    """Write a variable for `environment=`: supervisord has no escapes and strips outer quotes."""
    quote = "'" if '"' in value else '"'
    if quote in value or value != value.strip("'\"") or UNREADABLE.search(value):
        raise UserError(
            f"{name} cannot be passed on by supervisord: it must not contain line breaks or both "
            "kinds of quotes, or begin or end with a quote."
        )
    return f"{name}={quote}{value}{quote}"


def escaped(value: str) -> str:
    if UNREADABLE.search(value):
        raise UserError(
            f"supervisord cannot read {value!r}: the paths of the checkout and of the state folder "
            "(CLINIC_STATE_DIR) must not contain line breaks."
        )
    return COMMENT.sub(f"%(ENV_{NOTHING})s", value.replace("%", "%%"))
