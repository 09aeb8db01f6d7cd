"""A small MQTT broker in this process: it takes messages, and hangs or is gone when it is told to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_CONNECT, _PUBLISH, _SUBSCRIBE, _PING, _DISCONNECT = 1, 3, 8, 12, 14


class MemoryBroker:
    """MQTT 3.1.1 on a loopback port. `taken` are the (topic, payload) it has acknowledged."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.hangs = False  # it reads, and answers nothing
        self._listening: socket.socket | None = None
        self._clients: set[socket.socket] = set()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, at the same port as before."""
        if self._listening is None:
            self._listening = socket.create_server(("127.0.0.1", self.port))
            self.port = self._listening.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def stop(self) -> None:
        """Be gone: no client stays connected, and none can connect."""
        listening, self._listening = self._listening, None
        if listening is not None:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for client in list(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._clients.add(client)
        with suppress(OSError), client, client.makefile("rb") as stream:
            while head := stream.read(1):
                body = stream.read(_length(stream))
                if not self.hangs and (answer := self._answer(head[0], body)):
                    client.sendall(answer)
        self._clients.discard(client)

    def _answer(self, head: int, body: bytes) -> bytes:
        kind = head >> 4
        if kind == _CONNECT:
            return b"\x20\x02\x00\x00"
        if kind == _PING:
            return b"\xd0\x00"
        if kind == _SUBSCRIBE:
            return b"\x90\x03" + body[:2] + b"\x01"
        if kind != _PUBLISH:
            return b""
        size = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        if not head & 0b0110:  # QoS 0 has no number and no answer
            return b""
        self.taken.append((topic, rest[2:]))
        return b"\x40\x02" + rest[:2]


def _length(stream: object) -> int:
    value = 0
    for shift in (0, 7, 14, 21):
        (byte,) = stream.read(1) or b"\0"
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value
