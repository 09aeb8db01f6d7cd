"""Runs the `edgead` command: the one place where errors become sentences and exit codes."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from edgead.cli.app import Session, make_app
from edgead.cli.streams import discard, flush_stdout, say
from edgead.errors import EdgeadError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line (`sys.argv` where none is given) and leave the process with its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    erase = "\r\x1b[K" if sys.stderr is not None and sys.stderr.isatty() else ""  # a live status line may stand there
    logging.basicConfig(level=logging.WARNING, format=f"{erase}edgead: %(message)s", stream=sys.stderr)
    session = Session()
    try:
        make_app()(list(sys.argv[1:] if arguments is None else arguments), prog_name="edgead", obj=session)
    except KeyboardInterrupt:  # before or after a command: the commands' own are answered in `app`
        sys.exit(INTERRUPTED)
    except EdgeadError as error:
        _fail(str(error), error, error.exit_code, session.debug)
    except BrokenPipeError:  # `| head` has seen enough
        discard(sys.stdout)
        sys.exit(0)
    except OSError as error:
        _fail(_refused(error), error, 1, session.debug)
    except Exception as error:
        _fail(_unexpected(error, session.debug), error, 1, session.debug)
    sys.exit(0)


def _terminate(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)  # as an exception, so that everything open is closed


def _refused(error: OSError) -> str:
    """What the operating system did not let us do: a full disk behind standard output, say."""
    try:
        Path.cwd()
    except OSError:
        return "the folder in which this was started is gone: change to one that is there"
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror or error}; see that it can be written and has free space"


def _unexpected(error: Exception, debug: bool) -> str:
    words = " ".join(str(error).split())
    more = "" if debug else "; `edgead --debug ...` shows the traceback"
    return f"unexpected {type(error).__name__}{': ' + words if words else ''}; this is a fault in edgead{more}"


def _fail(sentence: str, error: Exception, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    say(f"edgead: {sentence}\n")
    flush_stdout()
    sys.exit(code)
