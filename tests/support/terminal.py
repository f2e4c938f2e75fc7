"""Run a command in a terminal of a given width, and read what it shows."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def show(words: Sequence[str], environment: Mapping[str, str], columns: int = 80) -> str:
    """Return the output of a command to a terminal, with the sequences that control it."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        words, env=environment, stdin=its, stdout=its, stderr=subprocess.DEVNULL
    ) as process:
        os.close(its)
        output = b""
        while chunk := read(ours):
            output += chunk
    os.close(ours)
    assert process.returncode == 0, output
    return output.decode().replace("\r\n", "\n")


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux's end of a terminal that nobody has open any more
        return b""
