"""The bundle as processes of this machine: its states, its logs, its end."""

import shutil
import time
from contextlib import suppress

import click

from observability.bundle import BundleError
from observability.native import parts as bundle_parts
from observability.native.lifecycle import Lifecycle, tail
from observability.native.parts import Part
from observability.way import UP, PartState, shown

FOLLOW_SECONDS = 0.3


class Native(Lifecycle):
    """What the commands do without Docker."""

    def states(self) -> list[PartState]:
        """Tell of each part, or of none where no supervisor runs."""
        if not self.supervisor.running():
            return []
        return [self.state_of(part) for part in bundle_parts.saved(self.bundle)]

    def state_of(self, part: Part) -> PartState:
        process = self.supervisor.process(part.name)
        state, uptime = f"down ({process.words})", "-"
        if process.alive:
            state, uptime = UP if part.ready() else "not answering", span(process.seconds)
        return PartState(part.name, part.version, state, uptime, part.address)

    def logs(self, part: str | None, lines: int, *, follow: bool) -> None:
        """Print the last lines of a part's log, or of all, and what is added."""
        kept = sorted(path.stem for path in self.supervisor.logs.glob("*.log"))
        if part and part not in kept:
            known = f"there are logs of {', '.join(kept)}" if kept else "nothing was started yet"
            raise BundleError(f"There is no log of {part!r}; {known}.")
        names = [part] if part else kept
        if not names:
            click.echo("Nothing was started yet; `just up` starts the bundle.")
        places = {}
        for name in names:
            log = self.supervisor.log(name)
            places[name] = log.stat().st_size
            for line in tail(log, lines if part else min(lines, 10)):
                click.echo(line if part else f"{name} | {line}")
        with suppress(KeyboardInterrupt):
            while follow:
                time.sleep(FOLLOW_SECONDS)
                for name in names:
                    places[name] = self.show_more(name, places[name], prefix=not part)

    def show_more(self, name: str, place: int, *, prefix: bool) -> int:
        """Print what a log gained since a place in it, and give the new place."""
        log = self.supervisor.log(name)
        if not log.exists():
            return 0
        if log.stat().st_size < place:
            place = 0
        with log.open("rb") as file:
            file.seek(place)
            more = file.read()
        complete = more[: more.rfind(b"\n") + 1]
        for line in complete.decode(errors="replace").splitlines():
            click.echo(f"{name} | {line}" if prefix else line)
        return place + len(complete)

    def data(self) -> str:
        """Name the folder of state, where there is one."""
        return str(shown(self.bundle.state)) if self.bundle.state.exists() else ""

    def destroy(self) -> None:
        """Stop all of it and remove the folder of state."""
        self.down()
        shutil.rmtree(self.bundle.state)


def span(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
