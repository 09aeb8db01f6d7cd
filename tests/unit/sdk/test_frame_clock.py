"""When a frame was captured: what lay in buffers is old, whatever the moment at which it was read says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from lines import Memory, fake_detector

from edgead import Result, Verdict
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline, PipelineSettings
from edgead.stream.sources.clock import BacklogClock, FrameClock, RequestClock, Stamp, StampClock
from edgead.stream.sources.live import open_web
from edgead.stream.sources.mjpeg import read_stamp

T = 0.1  # seconds between two frames


def ages(clock: FrameClock, reads: list[tuple[float, float]]) -> list[float]:
    """The ages of frames at their arrival, of (asked, arrived)."""
    return [round(arrived - clock.captured(asked, arrived)[0], 3) for asked, arrived in reads]


def steady(count: int, start: float = 100.0) -> list[tuple[float, float]]:
    return [(start + T * n - 0.9 * T, start + T * n) for n in range(count)]


def test_frames_that_are_waited_for_are_new() -> None:
    assert ages(BacklogClock(), steady(20)) == [0.0] * 20


def test_a_reader_that_is_too_slow_sees_ever_older_frames() -> None:
    """Ten a second are shown, five a second are read, and every one lies there: the buffer fills."""
    clock = BacklogClock()
    ages(clock, steady(10))
    slow = [(100.9 + 0.2 * n, 100.9 + 0.2 * n) for n in range(1, 21)]
    assert ages(clock, slow) == pytest.approx([0.1 * n for n in range(1, 21)])
    assert ages(clock, [(106.0, 106.1)]) == [0.0]  # until one has to be waited for again


def test_what_comes_in_a_burst_after_a_stall_is_old() -> None:
    """The network stands still for three seconds; then thirty frames are there at once."""
    clock = BacklogClock()
    ages(clock, steady(10))  # the last is of 100.9
    first, *burst = ages(clock, [(100.9, 103.9), *((103.9 + 0.01 * n, 103.9 + 0.01 * n) for n in range(1, 29))])
    assert first == 0.0  # nobody can tell yet
    expected = [103.9 + 0.01 * n - (100.9 + T * (n + 1)) for n in range(1, 29)]
    assert burst == pytest.approx(expected, abs=1e-3)
    assert burst[0] > 2.7


def test_a_pause_of_the_camera_makes_nothing_old() -> None:
    clock = BacklogClock()
    ages(clock, steady(10))
    assert ages(clock, [(100.9, 130.0), *steady(5, 130.1)]) == [0.0] * 6


def test_triggered_bursts_are_new() -> None:
    reads = []
    for part in range(6):
        at = 100.0 + 3 * part
        reads += [(at - 2.7, at), *((at + T * n - 0.09, at + T * n) for n in (1, 2, 3))]
    assert ages(BacklogClock(), reads) == [0.0] * 24


def test_stamps_tell_the_age_whatever_their_clock_says() -> None:
    """Theirs is 5000 s behind; a frame lies in a buffer for two seconds, and the next ones are read late, too."""
    stamps = [95.0 + T * n for n in range(30)]
    clock = StampClock(iter([*map(Stamp, stamps)]).__next__, "pts")
    lag = [0.0] * 10 + [2.0 - 0.1 * n for n in range(20)]
    found = ages(clock, [(0.0, stamp + 5000 + late) for stamp, late in zip(stamps, lag, strict=True)])
    assert found == pytest.approx(lag, abs=1e-2)


def test_a_clock_that_is_set_back_makes_nothing_old() -> None:
    clock = StampClock(iter([Stamp(100.0), Stamp(100.1), Stamp(20.0), Stamp(20.1)]).__next__, "header")
    assert ages(clock, [(0, 500.0), (0, 500.1), (0, 500.2), (0, 500.3)]) == [0.0] * 4


def test_a_driver_s_stamp_is_taken_where_its_clock_is_ours() -> None:
    stamps = iter([Stamp(99.5), Stamp(1.7e9), None, Stamp(100.35)])
    clock = StampClock(stamps.__next__, "driver", shared=True)
    found = [clock.captured(at - 0.09, at) for at in (100.0, 100.1, 100.2, 100.3)]
    assert found == [(99.5, "driver"), (100.1, "backlog"), (100.2, "backlog"), (100.3, "backlog")]
    assert RequestClock().captured(7.0, 7.5) == (7.0, "request")


def test_stamps_to_the_second_tell_large_backlogs_and_make_nothing_old() -> None:
    arrivals = [100.0 + T * n for n in range(60)]
    whole = StampClock(iter([Stamp(float(int(at)), 1.0) for at in arrivals]).__next__, "header")
    assert ages(whole, [(at - 0.09, at) for at in arrivals]) == [0.0] * 60
    late = StampClock(iter([Stamp(float(int(at)), 1.0) for at in arrivals]).__next__, "header")
    lags = [0.0] * 20 + [5.0] * 40
    found = ages(late, [(at + lag - 0.09, at + lag) for at, lag in zip(arrivals, lags, strict=True)])
    assert all(3.9 <= age <= 5.0 for age in found[20:])


@pytest.mark.parametrize(
    ("name", "value", "stamp"),
    [
        (b"x-timestamp", b"1700000000.250000", Stamp(1700000000.25)),
        (b"x-timestamp", b"1700000000", Stamp(1700000000.0, 1.0)),
        (b"x-timestamp", b"soon", None),
        (b"x-timestamp", b"nan", None),
        (b"date", b"Tue, 14 Nov 2023 22:13:20 GMT", Stamp(1700000000.0, 1.0)),
        (b"date", b"yesterday", None),
        (b"content-type", b"image/jpeg", None),
    ],
)
def test_what_a_part_says_of_its_time(name: bytes, value: bytes, stamp: Stamp | None) -> None:
    assert read_stamp(name, value) == stamp


@contextmanager
def motion_jpeg(fps: float, *, stamped: bool, length: bool = True) -> Iterator[int]:
    """A camera that shows `fps` frames a second, buffers what nobody reads, and maybe stamps it."""
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 50, np.uint8))[1].tobytes()
    listening = socket.create_server(("127.0.0.1", 0))
    ending = threading.Event()

    def serve() -> None:
        client, _ = listening.accept()
        client.recv(4096)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n")
        start, number = time.monotonic(), 0
        while not ending.is_set():
            number += 1
            time.sleep(max(0.0, start + number / fps - time.monotonic()))
            stamp = b"X-Timestamp: %.6f\r\n" % time.time() if stamped else b""
            size = b"Content-Length: %d\r\n" % len(jpeg) if length else b""
            try:
                client.sendall(b"--x\r\n" + stamp + size + b"\r\n" + jpeg + b"\r\n")
            except OSError:
                break
        client.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    ending.set()
    listening.close()
    thread.join(10)


def judged_slowly(bundle: Path, port: int, limit: int) -> list[Result]:
    """Frames of the camera, each of which is judged, at a rate that is too slow."""
    sink = Memory()
    settings = PipelineSettings(limit=limit, deadline=600.0, health=False, drain=2.0)
    camera = Camera("", open_web(f"http://127.0.0.1:{port}/", 16, 5.0), policy="every")
    with fake_detector(bundle, seconds=0.1) as detector:
        Pipeline([camera], detector, [sink], settings).run()
    return sink.results


@pytest.mark.parametrize(("stamped", "length"), [(True, True), (False, True), (False, False)])
def test_frames_that_wait_in_a_socket_become_late(tiny_bundle: Path, stamped: bool, length: bool) -> None:
    """Forty frames a second, ten judged: after forty the true age is three seconds; it was said to be a third of it."""
    with motion_jpeg(40, stamped=stamped, length=length) as port:
        results = judged_slowly(tiny_bundle, port, 40)
    assert {result.age_by for result in results} == ({"header"} if stamped else {"backlog"})
    assert results[-1].to_dict()["age_by"] == results[-1].age_by
    assert results[-1].age > 2000
    assert results[0].verdict is Verdict.OK
    assert results[-1].verdict is Verdict.LATE
