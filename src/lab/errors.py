"""Errors that are shown to the user as one message, without a traceback."""

import click

from lab.console import printable


class UserError(click.ClickException):
    """An expected error, shown to the user as one message: what is wrong and what to do."""

    def format_message(self) -> str:
        return printable(super().format_message())
