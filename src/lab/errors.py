"""The one error type: something that the user can put right."""

import click


class UserError(click.ClickException):
    """A failure that was foreseen; its message says what is wrong and what to do."""
