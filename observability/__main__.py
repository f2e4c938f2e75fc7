"""`python -m observability`: the bundle, in containers or without."""

import sys

INTERRUPTED = 130


def main() -> None:
    try:
        # Imported here so that Ctrl-C in the meantime is answered like any other.
        from observability import choice, cli  # noqa: PLC0415

        cli.main(choice.choose)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201 - click may not be there yet
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
