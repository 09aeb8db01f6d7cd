"""Standard output and error that may be gone: a closed terminal, a pipe that nobody reads, none at all."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

quiet = False  # whether nothing but errors and results is asked for (`edgead -q`)


def say(text: str) -> bool:
    """Write to standard error, and say whether somebody may see it: what is only shown never ends a command."""
    if sys.stderr is None:  # started without one
        return False
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):  # a terminal that was closed (EIO), a full disk, a stream that was closed
        discard(sys.stderr)
        return False
    return True


def flush_stdout() -> None:
    """Write what waits for standard output; where nobody reads it, it goes nowhere."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        discard(sys.stdout)


def discard(stream: TextIO) -> None:
    """Let what is written to a lost stream go nowhere: the interpreter, too, writes to it when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
