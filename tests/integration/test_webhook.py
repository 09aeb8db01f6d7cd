"""Results are posted to a real server that fails, hangs and recovers, and none is lost or out of order."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import tiny
from programs import certificate, free_port, until

from edgead import Detector, Frame
from edgead.errors import UsageError
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.delivery import queue_folder


class Receiver:
    """A web server that takes posts; `answers` are its next statuses (0: it hangs, -1: it is no web server)."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.taken: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.headers.append({**self.headers, "path": self.path})
                answer = receiver.answers.pop(0) if receiver.answers else 204
                if answer == 0:
                    time.sleep(0.6)
                    return
                if answer == -1:
                    self.wfile.write(b"what?\r\n\r\n")
                    return
                if answer < 300:  # before it is answered: the next post comes in a thread of its own
                    receiver.taken.append(body)
                self.send_response(answer)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def numbers(self) -> list[object]:
        return [message["sequence"] for message in self.taken]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def post(receiver_port: int, tmp_path: Path, options: str = "") -> Sink:
    return open_sink(
        f"http://127.0.0.1:{receiver_port}/parts?line=3#queue={tmp_path}/queue&retry=0.02&timeout=0.3{options}"
    )


def emit(sink: Sink, detector: Detector, *indices: int) -> None:
    for index in indices:
        frame = Frame(tiny.bad() if index % 2 else tiny.good(), index)
        sink.emit(frame, detector.detect(frame))


def test_anomalies_are_posted(receiver: Receiver, detector: Detector, tmp_path: Path) -> None:
    sink = post(receiver.port, tmp_path, "&station=press%201")
    emit(sink, detector, 0, 1, 2, 3)
    sink.close()
    sink.close()
    assert [message["index"] for message in receiver.taken] == [1, 3]
    assert receiver.taken[0]["station"] == "press 1"
    assert receiver.headers[0]["path"] == "/parts?line=3"
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert "Authorization" not in receiver.headers[0]


def test_all_are_posted_with_a_token(
    receiver: Receiver, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAD_WEBHOOK_TOKEN", "opensesame\n")
    sink = post(receiver.port, tmp_path, "&verdicts=all")
    emit(sink, detector, 0, 1)
    sink.close()
    assert receiver.numbers() == [1, 2]
    assert receiver.headers[0]["Authorization"] == "Bearer opensesame"


def test_a_server_that_fails_and_hangs_gets_them_all_in_order(
    receiver: Receiver, detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    receiver.answers = [500, 503, 0, 429, -1, 301, 401, 204, 500]
    sink = post(receiver.port, tmp_path, "&verdicts=all")
    emit(sink, detector, *range(6))
    until(lambda: len(receiver.taken) == 6)
    sink.close()
    assert receiver.numbers() == [1, 2, 3, 4, 5, 6]
    keys = [headers["Idempotency-Key"] for headers in receiver.headers]
    assert len(set(keys[:8])) == 1
    assert len(set(keys)) == 6
    said = [record.message for record in caplog.records]
    assert "takes no results: it answered 500 Internal Server Error; they wait on the disk" in said[0]
    assert "takes results again" in said[1]


def test_what_will_never_be_taken_blocks_nothing(
    receiver: Receiver, detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [422, 204]
    sink = post(receiver.port, tmp_path, "&verdicts=all")
    emit(sink, detector, 0, 1)
    sink.close()
    assert receiver.numbers() == [2]
    assert "will never take result 1: it answered 422" in caplog.text


def test_a_restart_while_the_server_is_away_loses_nothing(
    receiver: Receiver, detector: Detector, tmp_path: Path
) -> None:
    for start in (0, 2):
        away = post(free_port(), tmp_path, "&verdicts=all")
        emit(away, detector, start, start + 1)
        away.close()
    sink = post(receiver.port, tmp_path)
    until(lambda: len(receiver.taken) == 4)
    sink.close()
    assert receiver.numbers() == [1, 2, 3, 4]


def test_emitting_and_closing_never_wait_for_a_server_that_hangs(
    receiver: Receiver, detector: Detector, tmp_path: Path
) -> None:
    receiver.answers = [0] * 100
    sink = post(receiver.port, tmp_path)
    begin = time.monotonic()
    emit(sink, detector, *range(1, 21, 2))
    assert time.monotonic() - begin < 1
    sink.close()
    assert time.monotonic() - begin < 4


def test_the_servers_certificate_is_verified(
    detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert = certificate(tmp_path)
    receiver = Receiver(cert)
    url = f"https://localhost:{receiver.port}/#queue={tmp_path}/queue&retry=0.02"
    stranger = open_sink(url)
    emit(stranger, detector, 1)
    until(lambda: "certificate verify failed" in caplog.text)
    stranger.close()
    assert not receiver.taken
    known = open_sink(f"{url}&ca={cert[0]}")
    until(lambda: receiver.numbers() == [1])
    known.close()
    receiver.close()


def test_a_full_queue_refuses(detector: Detector, tmp_path: Path) -> None:
    sink = post(free_port(), tmp_path, "&limit=1kB")
    with pytest.raises(OSError, match="has reached its limit"):
        emit(sink, detector, *range(1, 9, 2))
    sink.close()


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        ("http:///x", "needs a host"),
        ("http://h:no/x", "no number up to 65535"),
        ("https://user:word@h/x", "set EDGEAD_WEBHOOK_TOKEN instead"),
        ("http://h/x#timeout=0", "more than 0 seconds"),
        ("https://h/x#ca=/absent.pem", "cannot be used: No such file"),
    ],
)
def test_what_cannot_be_meant_is_answered(spec: str, answer: str) -> None:
    with pytest.raises(UsageError, match=answer) as error:
        open_sink(spec)
    assert "word@" not in str(error.value)


def test_where_results_wait(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/line")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert queue_folder(tmp_path, "a") == tmp_path
    assert queue_folder(None, "a").parent == Path("/home/line/.local/state/edgead/queues")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert queue_folder(None, "a").parent == Path("/state/edgead/queues")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edgead:/var/lib/other")
    assert queue_folder(None, "a").parent == Path("/var/lib/edgead/queues")
    assert queue_folder(None, "a") != queue_folder(None, "b")
