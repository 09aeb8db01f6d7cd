"""One HTTP exchange that ends by its deadline, whatever the server does: looking up its name, connecting, the TLS
handshake, sending and the answer's head together take no longer."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from contextlib import suppress
from threading import Lock, Thread
from typing import Any


class Exchange:
    """Posts to one server, one message at a time."""

    def __init__(self, host: str, port: int, path: str, context: ssl.SSLContext | None, timeout: float) -> None:
        """`path` is what stands in the request; TLS where there is a `context`; `timeout` in seconds, for all of it."""
        self._host, self._port, self._path = host, port, path
        self._context, self._timeout = context, timeout
        self._lookup = _Lookup(host, port)
        self._lock = Lock()
        self._socket: socket.socket | None = None  # of the exchange under way
        self._aborted = False

    def post(self, body: bytes, headers: dict[str, str]) -> int:
        """The status that the server answers with; raises OSError."""
        deadline = _Deadline(self._timeout)
        try:
            return self._exchange(deadline, body, headers)
        except TimeoutError as error:
            raise TimeoutError(f"it has not answered within {self._timeout:g} s") from error

    def _exchange(self, deadline: _Deadline, body: bytes, headers: dict[str, str]) -> int:
        connected = self._connect(deadline)
        try:
            return self._ask(_Timed(connected, deadline), body, headers)
        except http.client.HTTPException as error:
            raise OSError(f"it does not answer as a web server does ({type(error).__name__})") from error
        finally:
            self._hold(None)
            connected.close()

    def abort(self) -> None:
        """End the exchange under way, and every later one, with an OSError. From any thread."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # not the TLS one, which forgets its keys

    def _ask(self, timed: _Timed, body: bytes, headers: dict[str, str]) -> int:
        make = http.client.HTTPSConnection if self._context else http.client.HTTPConnection
        connection = make(self._host, self._port)
        connection.sock = timed
        connection.request("POST", self._path, body, headers)
        return connection.getresponse().status

    def _connect(self, deadline: _Deadline) -> socket.socket:
        trouble = OSError(f"{self._host} has no address")
        for family, kind, protocol, _, address in self._lookup.addresses(deadline):
            raw = socket.socket(family, kind, protocol)
            try:
                self._hold(raw)
                raw.settimeout(deadline.left())
                raw.connect(address)
                return self._secured(raw, deadline)
            except OSError as error:
                self._hold(None)
                raw.close()
                trouble = error
        raise trouble

    def _secured(self, raw: socket.socket, deadline: _Deadline) -> socket.socket:
        if self._context is None:
            return raw
        raw.settimeout(deadline.left())
        secured = self._context.wrap_socket(raw, server_hostname=self._host)
        self._hold(secured)
        return secured

    def _hold(self, one: socket.socket | None) -> None:
        with self._lock:
            self._socket = one
            if self._aborted and one is not None:
                raise OSError("it was told to end")


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then; raises TimeoutError once it has passed."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Lookup:
    """Asks for the addresses of a name in a thread, since that cannot be given a time-out; one at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._thread: Thread | None = None
        self._found: list[Any] | OSError = []

    def addresses(self, deadline: _Deadline) -> list[Any]:
        """What getaddrinfo gives; raises OSError."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._ask, name=f"edgead looks up {self._host}", daemon=True)
            self._thread.start()
        self._thread.join(deadline.left())
        if self._thread.is_alive():
            raise TimeoutError
        if isinstance(self._found, OSError):
            raise self._found
        return self._found

    def _ask(self) -> None:
        try:
            self._found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            self._found = error


class _Timed:
    """What http.client uses of a socket, each call of which ends by the deadline."""

    def __init__(self, connected: socket.socket, deadline: _Deadline) -> None:
        self._connected, self._deadline = connected, deadline

    def sendall(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._connected.settimeout(self._deadline.left())
            left = left[self._connected.send(left) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._connected, self._deadline))

    def close(self) -> None:
        """The one who connected closes."""


class _Reader(io.RawIOBase):
    def __init__(self, connected: socket.socket, deadline: _Deadline) -> None:
        self._connected, self._deadline = connected, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connected.settimeout(self._deadline.left())
        return self._connected.recv_into(buffer)
