"""A web server on a loopback port that serves a folder, and does to some of its files what an attacker would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

Answer = Callable[[BaseHTTPRequestHandler], None]


class Served:
    """The folder; `answers` has what is done instead for a path."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.answers, self.asked = folder, dict[str, Answer](), list[str]()
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0].lstrip("/")
                served.asked.append(path)
                special = next((answer for name, answer in served.answers.items() if path.endswith(name)), None)
                if special is not None:
                    special(self)
                    return
                file = served.folder / path
                if file.is_file():
                    send(self, file.read_bytes())
                else:
                    send(self, b"", 404)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Nothing to standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    server = Served(folder)
    try:
        yield server
    finally:
        server.close()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """A whole answer."""
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def with_body(body: bytes) -> Answer:
    """What sends these bytes."""
    return lambda handler: send(handler, body)


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Bytes until the client has had enough."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"0" * 65536)
