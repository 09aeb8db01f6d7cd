"""What hangs: a camera that sends a byte now and then, sinks and cameras that do not end. Each costs its time once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from capture import FakeCapture, gray
from lines import QUICK, Memory, Scripted, background, images, threads
from programs import until

from edgead import Detector
from edgead.errors import SourceError
from edgead.stream.backoff import Backoff
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline, PipelineSettings
from edgead.stream.sink_worker import DRAIN_S
from edgead.stream.sources.live import LiveSource, open_web
from edgead.types import Frame

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n"


@contextmanager
def trickling(at_once: bytes) -> Iterator[tuple[int, list[float]]]:
    """A port that answers with `at_once` and then a byte every 20 ms without end; and how long each client stayed."""
    listening = socket.create_server(("127.0.0.1", 0))
    stays: list[float] = []
    ending = threading.Event()

    def serve(client: socket.socket) -> None:
        start = time.monotonic()
        try:
            client.recv(4096)
            client.sendall(at_once)
            while not ending.wait(0.02):
                client.sendall(b"a")
        except OSError:
            pass
        finally:
            stays.append(time.monotonic() - start)
            client.close()

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()[1], stays
    ending.set()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def test_an_answer_whose_head_trickles_is_given_up() -> None:
    with trickling(b"HTTP/1.1 200 OK\r\nX-Slow: ") as (port, stays):
        start = time.monotonic()
        with pytest.raises(SourceError, match="cannot be opened"):
            open_web(f"http://127.0.0.1:{port}/video", 16, 0.3)
        assert time.monotonic() - start < 5
        assert threads() == []
        until(lambda: len(stays) == 1)  # the connection is closed


@pytest.mark.parametrize("at_once", [HEAD, HEAD + b"--x\r\nContent-Length: 100000\r\n\r\n", HEAD + b"--x\r\n\r\n"])
def test_a_camera_that_trickles_leaks_nothing(quick: Detector, at_once: bytes) -> None:
    """A picture that comes byte by byte: each reconnect left a thread and a socket behind."""
    with trickling(at_once) as (port, stays):
        address = f"http://127.0.0.1:{port}/video"
        settings = PipelineSettings(camera_backoff=Backoff(0.001, 0.002), drain=3.0, health=False)
        camera = Camera("", open_web(address, 16, 0.2), lambda: open_web(address, 16, 0.2))
        line = Pipeline([camera], quick, [], settings)
        thread = background(line)
        until(lambda: len(stays) >= 3, 60)
        assert len(threads()) <= 4  # of the camera's one, and one that is about to end or to open
        start = time.monotonic()
        line.stop()
        thread.join(20)
        assert time.monotonic() - start < 5
        until(lambda: threads() == [])
    assert max(stays) < 10


def test_everything_that_hangs_is_waited_for_at_the_same_time(
    quick: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    """Three cameras and three sinks that never end, and one deadline for all of them."""
    release = threading.Event()

    def hang(frame: Frame) -> None:
        release.wait(60)

    hung = [FakeCapture([gray(1)], hang=True) for _ in range(3)]
    cameras = [Camera(f"{n}", LiveSource(one, f"camera:{n}", timeout=30)) for n, one in enumerate(hung)]
    settings = PipelineSettings(drain=0.6, health=False)
    line = Pipeline(cameras, quick, [Memory(hang) for _ in range(3)], settings)
    thread = background(line)
    until(lambda: line.status().frames == 3)
    start = time.monotonic()
    line.stop()
    thread.join(20)
    took = time.monotonic() - start
    release.set()
    for one in hung:
        one.end.set()
    until(lambda: threads() == [])
    assert 0.5 < took < 3  # one after the other they took six times as long
    assert caplog.text.count("does not answer") == 6
    assert sum(line.status().unwritten.values()) > 0


def test_a_line_of_files_that_waits_for_a_sink_can_be_stopped(quick: Detector) -> None:
    release = threading.Event()
    sink = Memory(lambda frame: release.wait(60) and None)
    line = Pipeline([Camera("", Scripted(images(2), live=False))], quick, [sink], QUICK)
    thread = background(line)
    until(lambda: line.status().cameras[""].state == "ended")
    line.stop()
    thread.join(20)
    assert not thread.is_alive()
    release.set()
    until(lambda: threads() == [])


def test_the_deadline_lies_below_systemd_s() -> None:
    (unit,) = (Path(__file__).parents[3] / "examples").glob("*.service")
    (line,) = [line for line in unit.read_text().splitlines() if line.startswith("TimeoutStopSec=")]
    assert min(10, float(line.partition("=")[2])) >= DRAIN_S + 3
