"""The head of an HTTP answer by a deadline: a socket's time-out is that of each piece, and a head may come in many."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import threading
from contextlib import suppress
from functools import partial
from http.client import HTTPResponse
from typing import Any
from urllib.request import HTTPHandler, HTTPSHandler, Request

from edgead.closing import Closing


class OpeningDeadline(Closing):
    """Ends the connections of one request where it is not answered in time; they fail with an OSError then.

    With it the handlers for http and https; no deadline where `timeout` is 0.
    """

    def __init__(self, timeout: float, context: ssl.SSLContext) -> None:
        self.handlers = _Http(self), _Https(self, context)
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.late = False
        self._timer = threading.Timer(timeout, self._end) if timeout else None
        if self._timer is not None:
            self._timer.name, self._timer.daemon = "edgead opens a camera", True
            self._timer.start()

    def add(self, connection: socket.socket) -> None:
        """Watch a connection; raises OSError where it is too late."""
        with self._lock:
            self._sockets.append(socket.socket(fileno=os.dup(connection.fileno())))
            if self.late:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def _end(self) -> None:
        with self._lock:
            self.late = True
            for connection in self._sockets:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The answer is there, or nobody wants it any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        for connection in self._sockets:
            connection.close()


class _Unencrypted(http.client.HTTPConnection):
    def __init__(self, host: str, *, deadline: OpeningDeadline, **options: Any) -> None:
        super().__init__(host, **options)
        self._deadline = deadline

    def connect(self) -> None:
        super().connect()
        self._deadline.add(self.sock)


class _Secure(http.client.HTTPSConnection):
    def __init__(self, host: str, *, deadline: OpeningDeadline, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(host, context=context, **options)
        self._deadline, self._tls = deadline, context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)  # without TLS, whose handshake is to be watched, too
        self._deadline.add(self.sock)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


class _Http(HTTPHandler):
    def __init__(self, deadline: OpeningDeadline) -> None:
        super().__init__()
        self._make = partial(_Unencrypted, deadline=deadline)

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(self._make, req)


class _Https(HTTPSHandler):
    def __init__(self, deadline: OpeningDeadline, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._make = partial(_Secure, deadline=deadline, context=context)

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(self._make, req)
