"""Errors that are shown to the user as one message, without a traceback."""

import click


class UserError(click.ClickException):
    """An expected error, shown to the user as one message: what is wrong and what to do."""
