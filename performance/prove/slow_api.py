"""Serve the clinic with one slow handler, POST /owners: it burns CPU time, or blocks.

python -m performance.prove.slow_api burn|block MILLISECONDS
"""

import sys
import time
from unittest import mock

from clinic.__main__ import main
from clinic.owners import controller
from clinic.telemetry.context import add_created_id


def burn(seconds: float) -> None:
    """Use CPU time in the thread of the event loop."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def block(seconds: float) -> None:
    """Stop the event loop without using the CPU, as a synchronous call does."""
    time.sleep(seconds)


DELAYS = {"burn": burn, "block": block}

if __name__ == "__main__":
    kind, milliseconds = sys.argv[1:]
    delay, seconds = DELAYS[kind], float(milliseconds) / 1000

    def slow_add_created_id(kind: str, key: int) -> None:
        """Delay POST /owners, the only caller in its module, once its statement has returned."""
        delay(seconds)
        add_created_id(kind, key)

    sys.argv[1:] = ["serve"]
    with mock.patch.object(controller, "add_created_id", slow_add_created_id):
        sys.exit(main())
