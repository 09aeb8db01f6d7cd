"""An RTSP camera on the loopback, which can be hung up on."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from programs import need, running


class RtspCamera:
    """A small RTSP server (RFC 2326) that hands on ffmpeg's MPEG-TS, interleaved, to one client at a time."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._client: socket.socket | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing:
            with suppress(OSError):
                self._client, _ = self._listener.accept()
                with self._client as client, client.makefile("rb") as asked:
                    self._talk(client, asked)

    def _talk(self, client: socket.socket, asked: object) -> None:
        while first := asked.readline().decode():  # type: ignore[attr-defined]
            headers = {}
            while line := asked.readline().decode().strip():  # type: ignore[attr-defined]
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            method = first.split()[0]
            extra, body = "", ""
            if method == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
                extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            elif method == "OPTIONS":
                extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n{body}".encode())
            if method == "PLAY":
                self._play(client)
                return

    def _play(self, client: socket.socket) -> None:
        picture = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25"]
        codec = ["-c:v", "mpeg2video", "-g", "5", "-q:v", "3", "-f", "mpegts", "-flush_packets", "1", "-"]
        with running(need("ffmpeg"), "-v", "quiet", "-re", *picture, *codec) as process:
            number = 0
            assert process.stdout is not None
            while data := process.stdout.read(7 * 188):
                header = (
                    b"\x80\x21" + (number & 0xFFFF).to_bytes(2, "big") + (number * 900).to_bytes(4, "big") + b"\0" * 4
                )
                packet = header + data
                client.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
                number += 1

    def hang_up(self) -> None:
        """Cut the client off, as a cable does."""
        if self._client is not None:
            with suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        self._thread.join()
