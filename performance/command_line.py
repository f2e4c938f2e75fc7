"""The end of the commands of this folder: Ctrl-C, SIGTERM and errors."""

import signal
import sys

import click

from lab.console import say

INTERRUPTED = 130


def run(command: click.Command, name: str) -> None:
    """Run a command; end with 130 on Ctrl-C or SIGTERM, and with a message on an error."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command.main(prog_name=name, standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        say("Interrupted.")
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
