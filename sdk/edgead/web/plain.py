"""A small HTTP server of the standard library, for what needs no page: few clients at a time, a token, this machine's
names alone."""

from __future__ import annotations

import hmac
import socket
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

from edgead.closing import Closing
from edgead.web.address import Address, ThisMachine

TIMEOUT_S = 5.0  # for a client that says nothing
_CLIENTS = 16  # at a time; one more, and the one that came first has to go


class PlainServer(Closing):
    """Answers from threads of its own, on a socket that is listening already."""

    def __init__(
        self, where: Address, handler: type[PlainHandler], owner: Any, names: frozenset[str], thread: str
    ) -> None:
        """Answer at once by `handler`, which finds `owner` in `self.server`; raises UsageError."""
        listening = where.listen()
        self._server = LimitedServer(listening, where, handler, owner, names)
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.2,), name=thread, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class LimitedServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, listening: Any, where: Address, handler: type[PlainHandler], owner: Any, names: frozenset[str]
    ) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.server_address = listening, listening.getsockname()[:2]
        self.token, self.machine, self.owner = where.token, ThisMachine(names, where.loopback), owner
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


class PlainHandler(BaseHTTPRequestHandler):
    """One request: `allowed` says first whether it may be answered."""

    timeout = TIMEOUT_S
    server: LimitedServer

    def allowed(self) -> bool:
        """Whether the request names this machine, has the token and comes from no foreign page; else it is answered."""
        given, wanted = self.headers.get("Authorization", ""), f"Bearer {self.server.token}"
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not self.server.machine.names(host):
            self.answer(421, "this machine is not known by that name: add it with the option names=NAME\n")
        elif origin is not None and urlsplit(origin).netloc != host:
            self.answer(403, "this request comes from another page\n")
        elif self.server.token and not hmac.compare_digest(given.encode(), wanted.encode()):
            self.answer(401, "the token is missing or wrong\n", {"WWW-Authenticate": "Bearer"})
        else:
            return True
        return False

    def answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        """Send a whole answer."""
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain", **(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Not a line a request."""
