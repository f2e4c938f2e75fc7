"""The supervisor of the stack: its configuration, its start, and what is asked of it."""

import hashlib
import os
import re
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from lab.errors import UserError
from lab.paths import PROJECT
from lab.stack.config import HOST
from lab.stack.services import Service

# The kernel allows 108 bytes, macOS 104, and supervisord first binds NAME.PID.
LONGEST_SOCKET = 90
START_SECONDS = 20
STOP_SECONDS = 60
PID_FILE = "supervisord.pid"
POLL_SECONDS = 0.1

# The states and the fault of its protocol that matter here.
STARTING, RUNNING, BACKOFF, STOPPING, EXITED = 10, 20, 30, 40, 100
ALIVE = (STARTING, RUNNING)
NOT_RUNNING = 70
EXITED_TOO_QUICKLY = "Exited too quickly"


@dataclass(frozen=True)
class Process:
    """What the supervisor says of one part."""

    state: int
    pid: int
    seconds: int
    words: str

    @property
    def alive(self) -> bool:
        return self.state in ALIVE


class Supervisor:
    """supervisord on the files of one state folder, spoken to through its socket."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.logs = state / "logs"
        self.config = state / "supervisord.conf"
        self.socket = socket_path(state)

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def running(self) -> bool:
        try:
            self.ask("getState")
        except OSError:
            return False
        return True

    def launch(self, services: list[Service]) -> None:
        """Start supervisord in the background with every part known to it and none started."""
        if self.socket.parent != self.state:
            make_private(self.socket.parent)
        self.config.unlink(missing_ok=True)
        with os.fdopen(
            os.open(self.config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as file:
            file.write(self.configuration(services))
        output = self.log("supervisord-output")
        with output.open("w") as said:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **around_proxies()},
            )
        try:
            self.wait_until_it_answers(process, output)
        except BaseException:
            process.terminate()
            process.wait()
            self.remove_socket()
            raise

    def wait_until_it_answers(self, process: subprocess.Popen[bytes], output: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.running():
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(
                    "The supervisor of the stack did not start:\n" + output.read_text().strip()
                )
            time.sleep(POLL_SECONDS)

    def configuration(self, services: list[Service]) -> str:
        sections = [
            section(
                "supervisord",
                nodaemon="true",
                silent="true",
                directory=str(PROJECT),
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
        pairs = ",".join(
            f'{name}="{value}"' for name, value in {**environment, **service.environment}.items()
        )
        return section(
            f"program:{service.name}",
            command=shlex.join(service.command),
            directory=service.folder,
            environment=pairs,
            autostart="false",
            autorestart="unexpected",
            startsecs="1",
            startretries="3",
            stopsignal=service.stop_signal,
            stopwaitsecs=str(service.stop_seconds),
            killasgroup="true",
            redirect_stderr="true",
            # Expanded twice by supervisor 4.3, unlike every other setting.
            stdout_logfile=escaped(str(self.log(service.name))),
            stdout_logfile_maxbytes="10MB",
            stdout_logfile_backups="2",
            **({"user": service.user} if service.user else {}),
        )

    def ask(self, method: str, *arguments: object) -> Any:
        """Call the supervisor; OSError when it is not there."""
        transport = SupervisorTransport(serverurl=f"unix://{self.socket}")
        try:
            proxy = xmlrpc.client.ServerProxy(f"http://{HOST}", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except (HTTPException, xmlrpc.client.ProtocolError) as error:
            raise ConnectionError(str(error)) from error
        finally:
            transport.close()

    def process(self, name: str) -> Process:
        said = self.ask("getProcessInfo", name)
        state = int(said["state"])
        return Process(
            state, int(said["pid"]), int(said["now"] - said["start"]), why_down(state, said)
        )

    def start(self, name: str) -> None:
        try:
            self.ask("startProcess", name, False)  # noqa: FBT003 - the protocol's flag: do not wait
        except xmlrpc.client.Fault as fault:
            raise UserError(
                f"{name} cannot be started: {fault.faultString}. Mend that and try `just up` again."
            ) from fault

    def stop(self, service: Service) -> float | None:
        """Stop a part and give the seconds it took; nothing when it was not running."""
        started = time.monotonic()
        try:
            self.ask("stopProcess", service.name, False)  # noqa: FBT003 - the protocol's own flag
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == NOT_RUNNING:
                return None
            raise
        while self.process(service.name).state in (*ALIVE, BACKOFF, STOPPING):
            time.sleep(POLL_SECONDS)
        return time.monotonic() - started

    def shutdown(self) -> None:
        """End supervisord, and whatever it still runs, and leave no socket behind."""
        process = psutil.Process(self.ask("getPID"))
        self.ask("shutdown")
        try:
            process.wait(timeout=STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
        self.remove_socket()

    def remove_socket(self) -> None:
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.state and self.socket.parent.exists():
            self.socket.parent.rmdir()

    def leftovers(self) -> list[psutil.Process]:
        """List parts of this very stack that outlived a supervisor which was killed."""
        mark = f"unix://{self.socket}"
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SUPERVISOR_SERVER_URL") == mark:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def clear_leftovers(self) -> list[str]:
        """End what outlived a killed supervisor, and give the names."""
        processes = self.leftovers()
        names = [process.name() for process in processes if process.is_running()]
        for process in processes:
            process.terminate()
        _, stubborn = psutil.wait_procs(processes, timeout=10)
        for process in stubborn:
            process.kill()
        psutil.wait_procs(stubborn, timeout=5)
        self.remove_socket()
        return names


def why_down(state: int, said: dict[str, Any]) -> str:
    if state == EXITED:
        status = said["exitstatus"]
        return f"exit code {status}" if status >= 0 else "killed by a signal"
    error = str(said["spawnerr"])
    if error and not error.startswith(EXITED_TOO_QUICKLY):
        return error
    return "died at its start" if error else "stopped"


def socket_path(state: Path) -> Path:
    near = state / "supervisor.sock"
    if len(os.fsencode(near)) <= LONGEST_SOCKET:
        return near
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    return Path("/tmp") / f"vet-clinic-{os.getuid()}-{digest}" / "supervisor.sock"  # noqa: S108 - private, see below


def make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to someone else; remove it and try again.")
    folder.chmod(0o700)


def around_proxies() -> dict[str, str]:
    """Keep the parts' talk with each other out of a proxy that the environment names."""
    spared = ",".join(filter(None, (os.environ.get("NO_PROXY"), HOST, "localhost")))
    return {"NO_PROXY": spared, "no_proxy": spared}


def section(name: str, **settings: str) -> str:
    lines = [f"[{name}]", *(f"{key}={escaped(value)}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"


def escaped(value: str) -> str:
    if re.search(r"[\r\n]|\s[;#]", value):
        raise UserError(
            f"The supervisor cannot take the words {value!r}: a folder's name must not have a line "
            "break, nor a ; or # after a blank. Use another folder (CLINIC_STATE_DIR)."
        )
    return value.replace("%", "%%")
