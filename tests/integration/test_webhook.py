"""Results are posted to a real server that fails, hangs and recovers, and none is lost or out of order."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
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


def test_what_will_never_be_taken_is_counted_and_kept(
    receiver: Receiver, detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [422, 204, 400, 422]
    sink = post(receiver.port, tmp_path, "&verdicts=all")
    emit(sink, detector, 0, 1, 2, 3)
    until(lambda: sum(sink.lost().values()) == 3)
    sink.close()
    assert receiver.numbers() == [2]
    names = {"422 Unprocessable": 2, "400 Bad Request": 1}
    assert {reason.partition("answered ")[2].removesuffix(" Entity"): n for reason, n in sink.lost().items()} == names
    letters = [json.loads(line) for line in (tmp_path / "queue/dead-letters.jsonl").read_text().splitlines()]
    assert [(letter["number"], letter["message"]["index"]) for letter in letters] == [(1, 0), (3, 2), (4, 3)]
    assert letters[1]["reason"] == "the webhook at 127.0.0.1 answered 400 Bad Request"
    assert letters[0]["when"].endswith("+00:00")
    assert caplog.text.count("is given up") == 2  # once a reason


def test_dead_letters_end_at_their_quota_and_are_still_counted(
    receiver: Receiver, detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [400] * 9
    sink = post(receiver.port, tmp_path, "&verdicts=all&dead=3kB")
    emit(sink, detector, *range(9))
    until(lambda: sum(sink.lost().values()) == 9)
    sink.close()
    assert 1000 < (tmp_path / "queue/dead-letters.jsonl").stat().st_size <= 3000
    assert caplog.text.count("has reached its quota of 3000 bytes") == 1


def test_what_is_given_up_ends_the_run_with_an_error(
    receiver: Receiver, edgead: object, tiny_bundle: Path, parts: Path, tmp_path: Path
) -> None:
    receiver.answers = [400]
    sink = f"http://127.0.0.1:{receiver.port}/#queue={tmp_path}/queue"
    code, _, err = edgead("run", "--bundle", tiny_bundle, "--source", parts, "--sink", sink)
    assert code == 1
    assert "1 results could not be written (http: the webhook at 127.0.0.1 answered 400 Bad Request, 1)" in err


@pytest.mark.parametrize("where", [b"", b"HTTP/1.1 204 No Content\r\nX-Long: "])
def test_a_server_that_drips_its_answer_is_given_the_timeout_in_all(
    where: bytes, detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.suppress(OSError):
        sink = post(listening.getsockname()[1], tmp_path)
        emit(sink, detector, 1)
        dripping, _ = listening.accept()
        begin = time.monotonic()
        with dripping:
            dripping.sendall(where)
            while time.monotonic() < begin + 10:
                dripping.sendall(b"H")
                time.sleep(0.05)
    assert 0.2 < time.monotonic() - begin < 1.5
    begin = time.monotonic()
    sink.close()
    assert time.monotonic() - begin < 2
    assert "it has not answered within 0.3 s" in caplog.text


def test_an_address_with_letters_beyond_ascii_is_encoded(
    receiver: Receiver, detector: Detector, tmp_path: Path
) -> None:
    sink = open_sink(f"http://127.0.0.1:{receiver.port}/prüfung/ä b?größe=1%20a#queue={tmp_path}/queue")
    emit(sink, detector, 1)
    until(lambda: receiver.taken)
    sink.close()
    assert receiver.headers[0]["path"] == "/pr%C3%BCfung/%C3%A4%20b?gr%C3%B6%C3%9Fe=1%20a"


@pytest.mark.parametrize("token", ["two words", "dash–ed", "line\nbreak", "nul\0"])
def test_a_token_that_no_header_can_hold_is_refused(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {**os.environ, "EDGEAD_WEBHOOK_TOKEN": token})
    with pytest.raises(UsageError, match="EDGEAD_WEBHOOK_TOKEN holds a space") as error:
        post(free_port(), tmp_path)
    assert token not in str(error.value)


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
        ("http://h/x#timeout=0", "timeout must be from 0.001 to 3600"),
        ("http://h/x#timeout=1e20", "timeout must be from 0.001 to 3600"),
        ("http://h/x#retry=-1", "retry must be from 0.001 to 3600"),
        ("http://a..b/x", "cannot reach a host called 'a..b'"),
        ("http://.b/x", "cannot reach a host called '.b'"),
        ("http://a b/x", "cannot reach a host called 'a b'"),
        (f"http://{'a' * 64}.local/x", "cannot reach a host called"),
        ("http://[::1/x", "cannot be read"),
        ("http://h/x#limit=99999999999TB", "a size below 1000 TB"),
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
