"""`python -m observability.native`: the bundle as processes of this machine, without Docker."""

import sys

INTERRUPTED = 130


def main() -> None:
    try:
        # Imported here so that Ctrl-C in the meantime is answered like any other.
        from observability import cli  # noqa: PLC0415
        from observability.native.way import Native  # noqa: PLC0415

        cli.main(Native)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201 - click may not be there yet
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
