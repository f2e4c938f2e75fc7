"""Statements of migrations that do not block those of the API."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op


@contextmanager
def concurrently() -> Iterator[None]:
    """Run statements outside a transaction; they may wait for others as long as they have to.

    They block no other statement while they wait, unlike those for which `env.py` sets a timeout.
    """
    with op.get_context().autocommit_block():
        before = op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar_one()
        op.execute("SET lock_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{before}'")
