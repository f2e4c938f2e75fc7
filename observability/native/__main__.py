"""`python -m observability.native`: the bundle as processes of this machine, without Docker."""

import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    signal.signal(signal.SIGTERM, interrupt)
    try:
        # Imported here so that Ctrl-C in the meantime is answered like any other.
        from observability.native import cli  # noqa: PLC0415

        cli.main()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201 - click may not be there yet
        sys.exit(INTERRUPTED)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
