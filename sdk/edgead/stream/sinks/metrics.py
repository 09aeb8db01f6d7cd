"""Serves metrics for Prometheus, at http://127.0.0.1:9108/metrics unless told otherwise."""

from __future__ import annotations

import hmac
import socket
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from edgead.result import Result
from edgead.stream.sinks.base import PipelineControl, Sink
from edgead.stream.sinks.exposition import CONTENT_TYPE, Tally
from edgead.types import Frame
from edgead.web.address import ThisMachine, read_address, split_names

_TIMEOUT_S = 5.0  # for a client that says nothing
_CLIENTS = 16  # at a time; one more, and the one that came first has to go


class Metrics(Sink):
    """Counts results and answers who asks. Beyond loopback EDGEAD_TOKEN is asked for as a bearer token."""

    needs_pixels = False

    def __init__(self, address: str = "9108", *, names: str = "") -> None:
        """Listen at once; raises UsageError.

        `names` are further names of this machine, with commas between, under which the metrics may be asked for.
        """
        where = read_address(address, "metrics")
        self._tally = Tally()
        self._line: PipelineControl | None = None
        machine = ThisMachine(split_names(names), where.loopback)
        self._server = _Server(where.listen(), where.token, machine, self)
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.2,), name="edgead metrics", daemon=True)
        self._thread.start()

    def attach(self, pipeline: PipelineControl) -> None:
        self._line = pipeline

    def emit(self, frame: Frame, result: Result) -> None:
        self._tally.observe(result)

    def text(self) -> str:
        """The metrics now."""
        return self._tally.text(self._line.status() if self._line is not None else None)

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: Any, token: str, machine: ThisMachine, metrics: Metrics) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.server_address = listening, listening.getsockname()[:2]
        self.token, self.machine, self.metrics = token, machine, metrics
        self._lock = Lock()
        self._clients: deque[socket.socket] = deque()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; where too many clients are there, the one that came first is cut off."""
        with self._lock:
            self._clients.append(request)
            first = self._clients.popleft() if len(self._clients) > _CLIENTS else None
        if first is not None:
            with suppress(OSError):
                first.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock, suppress(ValueError):
            self._clients.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no fault."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        wanted = f"Bearer {self.server.token}"
        if not self.server.machine.names(self.headers.get("Host", "")):
            self._answer(421, "this machine is not known by that name: add it with the option names=NAME\n")
        elif self.server.token and not hmac.compare_digest(given.encode(), wanted.encode()):
            self._answer(401, "the token is missing or wrong\n", {"WWW-Authenticate": "Bearer"})
        elif self.path.partition("?")[0] != "/metrics":
            self._answer(404, "the metrics are at /metrics\n")
        else:
            self._answer(200, self.server.metrics.text(), {"Content-Type": CONTENT_TYPE})

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain", **(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Not a line a scrape."""
