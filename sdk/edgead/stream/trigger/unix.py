"""Fires by a line on a Unix socket: the part's id, or an empty line. Each is answered by one line, the result as JSON.

echo A-17 | socat - UNIX-CONNECT:/run/edgead/trigger
"""

from __future__ import annotations

import errno
import json
import socket
import stat
from concurrent.futures import TimeoutError as Unanswered
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingMixIn, UnixStreamServer
from threading import Thread
from typing import cast

from edgead.errors import UsageError
from edgead.stream.trigger.base import TriggerControl, TriggerSource

_LONGEST_LINE = 256
_WAIT_S = 60.0  # for an answer, which comes far earlier


class UnixTrigger(TriggerSource):
    """Only this machine's users reach it, of whom only the owner and the group may write."""

    def __init__(self, path: Path) -> None:
        """Listen once it is started; raises UsageError for a path that is taken or cannot be had."""
        self._path = path
        self._server: _Server | None = None
        self._thread: Thread | None = None
        self.control: TriggerControl | None = None
        _clear(path)

    def start(self, control: TriggerControl) -> None:
        self.control = control
        try:
            self._server = _Server(str(self._path), _Handler)
            self._path.chmod(0o660)
        except OSError as error:
            raise UsageError(f"cannot listen at {self._path}: {error.strerror or error}") from error
        self._server.owner = self
        self._thread = Thread(target=self._server.serve_forever, args=(0.2,), name="edgead trigger unix", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None and self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._path.unlink(missing_ok=True)
            self._thread = None


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens at any more; raises UsageError for anything else that is there."""
    try:
        kind = path.stat().st_mode
    except OSError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        if not stat.S_ISSOCK(kind) or probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise UsageError(f"cannot listen at {path}: something is there already; give another path or remove it")
    path.unlink()


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    owner: UnixTrigger

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no fault."""


class _Handler(StreamRequestHandler):
    def handle(self) -> None:
        owner = cast(_Server, self.server).owner
        while line := self.rfile.readline(_LONGEST_LINE + 1):
            try:
                part = line.decode("ascii").strip()
                assert owner.control is not None  # it was started
                ticket = owner.control.fire("unix", part)
                answer = ticket.answer.result(_WAIT_S).to_json()
            except Unanswered:
                answer = json.dumps({"error": f"not answered within {_WAIT_S:g} s"})
            except (UsageError, UnicodeDecodeError) as error:
                answer = json.dumps({"error": str(error)})
            with suppress(OSError):
                self.wfile.write(answer.encode() + b"\n")
