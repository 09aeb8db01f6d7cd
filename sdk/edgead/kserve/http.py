"""Asks an inference server over HTTP/1.1, on one connection that stays open, and never longer than a deadline.

The standard library's client has a time limit for each wait, not for the whole: a server that drips bytes would hold up
a line. So the socket is read here, each time for what is left until the deadline.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from edgead.errors import DataError
from edgead.kserve import tensors
from edgead.kserve.client import Address, Client, ServerError
from edgead.kserve.tensors import LENGTH_HEADER, Array

_HEAD_LIMIT = 1 << 16  # bytes of an answer's head
_BODY_LIMIT = 256 << 20


class HttpClient(Client):
    """Over plain TCP or TLS, with EDGEAD_TOKEN as a bearer token where it is set."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._token = os.environ.get("EDGEAD_TOKEN", "").strip()

    def infer(
        self, model: str, inputs: Mapping[str, Array], outputs: Sequence[str], deadline_s: float
    ) -> dict[str, Array]:
        wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
        body, length = tensors.encode({"outputs": wanted}, "inputs", inputs)
        headers = {LENGTH_HEADER: str(length), "Content-Type": "application/octet-stream"}
        status, head, answer = self._ask("POST", f"{_path(model)}/infer", deadline_s, headers, body)
        if status != 200:
            raise ServerError(f"it answers {status}: {bytes(answer[:300]).decode('utf-8', 'replace')}")
        try:
            return tensors.decode(answer, int(head.get(LENGTH_HEADER) or 0), "outputs")[1]
        except (DataError, ValueError) as error:
            raise ServerError(str(error)) from error

    def is_ready(self, model: str, deadline_s: float) -> bool:
        try:
            return self._ask("GET", f"{_path(model)}/ready", deadline_s, {}, b"")[0] == 200
        except ServerError:
            return False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(
        self, method: str, path: str, deadline_s: float, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, http.client.HTTPMessage, memoryview]:
        """Status, headers and body of an answer; raises ServerError."""
        end = time.monotonic() + deadline_s
        used = self._socket is not None
        try:
            try:
                return self._exchange(self._request(method, path, headers, body), end)
            except (ConnectionError, EOFError):
                if not used:  # else the server may have closed it since the last request
                    raise
                self.close()
                return self._exchange(self._request(method, path, headers, body), end)
        except TimeoutError:
            self.close()  # what comes late must not be taken for the answer to the next
            raise ServerError(f"no answer within {1000 * deadline_s:.0f} ms") from None
        except (OSError, EOFError, ValueError, http.client.HTTPException) as error:
            self.close()
            raise ServerError(f"{type(error).__name__}: {error}") from error

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._address.netloc}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Authorization: Bearer {self._token}"] if self._token else []
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _exchange(self, request: bytes, end: float) -> tuple[int, http.client.HTTPMessage, memoryview]:
        if self._socket is None:
            self._socket = self._connect(end)
        self._socket.settimeout(_left(end))
        self._socket.sendall(request)
        data = bytearray()
        while (at := data.find(b"\r\n\r\n")) < 0:
            if len(data) > _HEAD_LIMIT:
                raise ValueError("the head of the answer does not end")
            data += self._receive(1 << 16, end)
        line, _, rest = bytes(data[: at + 4]).partition(b"\r\n")
        status = int(line.split(None, 2)[1])
        headers = http.client.parse_headers(io.BytesIO(rest))
        size = int(headers.get("Content-Length") or -1) if headers.get("Content-Length") != "0" else 0
        if not 0 <= size <= _BODY_LIMIT:
            raise ValueError("the answer does not say how long it is")
        while len(data) < at + 4 + size:
            data += self._receive(min(1 << 20, at + 4 + size - len(data)), end)
        if (headers.get("Connection") or "").lower() == "close":
            self.close()
        return status, headers, memoryview(data)[at + 4 : at + 4 + size]

    def _receive(self, most: int, end: float) -> bytes:
        assert self._socket is not None
        self._socket.settimeout(_left(end))
        part = self._socket.recv(most)
        if not part:
            raise EOFError("the server has closed the connection")
        return part

    def _connect(self, end: float) -> socket.socket:
        address = self._address
        opened = socket.create_connection((address.host, address.port), timeout=_left(end))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.scheme == "https":
            opened.settimeout(_left(end))
            return ssl.create_default_context().wrap_socket(opened, server_hostname=address.host)
        return opened


def _path(model: str) -> str:
    return f"/v2/models/{quote(model, safe='')}"


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
