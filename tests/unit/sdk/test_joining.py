"""Frames of several cameras are judged together: the first waits for the others, and never longer than it was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import emulated
import msgspec
import numpy as np
import pytest
from lines import QUICK, Memory, Scripted, fake_detector

from edgead import Bundle, Detector, Frame, StationConfig, UsageError
from edgead.engines import load_engine
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.pipeline_settings import settings_of
from edgead.stream.queue import EVERY, LATEST, FrameQueue, QueuePolicy

FRAME = Frame(np.zeros((8, 8, 3), np.uint8))
SLACK_S = 0.15  # of a busy machine


def taken(
    queue: FrameQueue, most: int, window: float, showing: Callable[[], int] | None = None
) -> tuple[list[int], float]:
    """The cameras whose frames are taken, and the seconds that it took."""
    start = time.monotonic()
    frames = queue.take(most, 1.0, window, showing)
    return sorted(number for number, _ in frames), time.monotonic() - start


def later(seconds: float, queue: FrameQueue, camera: int) -> threading.Timer:
    timer = threading.Timer(seconds, queue.put, (camera, FRAME))
    timer.start()
    return timer


def test_a_frame_waits_for_those_of_the_other_cameras() -> None:
    queue = FrameQueue([LATEST] * 3)
    queue.put(0, FRAME)
    timers = [later(0.05, queue, 1), later(0.1, queue, 2)]
    cameras, spent = taken(queue, 4, window=5.0)
    assert cameras == [0, 1, 2]
    assert 0.09 <= spent < 5.0
    for timer in timers:
        timer.join()


def test_without_a_window_nothing_waits() -> None:
    queue = FrameQueue([LATEST] * 2)
    queue.put(0, FRAME)
    cameras, spent = taken(queue, 2, window=0.0)
    assert (cameras, spent < SLACK_S) == ([0], True)


def test_a_frame_waits_no_longer_than_the_window_counted_from_when_it_came() -> None:
    queue = FrameQueue([LATEST] * 2)
    queue.put(0, FRAME)
    cameras, spent = taken(queue, 2, window=0.2)
    assert cameras == [0]
    assert 0.19 <= spent < 0.2 + SLACK_S
    queue.put(0, FRAME)
    time.sleep(0.25)  # the batch before it is judged meanwhile
    assert taken(queue, 2, window=0.2)[1] < SLACK_S


@pytest.mark.parametrize("policy", [LATEST, EVERY])
def test_a_fast_camera_does_not_begin_the_window_anew(policy: QueuePolicy) -> None:
    """Each newer frame takes the place of the one before it: counted from the newest, the window would never end."""
    queue, ends = FrameQueue([policy] * 2), threading.Event()

    def deliver() -> None:
        while not ends.wait(0.01) and queue.put(0, FRAME):
            pass

    thread = threading.Thread(target=deliver)
    thread.start()
    cameras, spent = taken(queue, 2, window=0.15)
    ends.set()
    queue.close()
    thread.join()
    assert (cameras, spent < 0.15 + SLACK_S) == ([0], True)


def test_nobody_waits_for_more_than_can_come() -> None:
    queue = FrameQueue([LATEST] * 3)
    queue.put(0, FRAME)
    assert taken(queue, 1, window=5.0) == ([0], pytest.approx(0, abs=SLACK_S))  # a batch of one
    queue.put(0, FRAME)
    queue.put(1, FRAME)
    assert taken(queue, 8, window=5.0, showing=lambda: 2) == (
        [0, 1],
        pytest.approx(0, abs=SLACK_S),
    )  # the third is lost
    queue.finish(2)
    queue.put(0, FRAME)
    queue.put(1, FRAME)
    assert taken(queue, 8, window=5.0) == ([0, 1], pytest.approx(0, abs=SLACK_S))  # or at its end
    queue.put(0, FRAME)
    closing = threading.Timer(0.05, queue.close)
    closing.start()
    assert taken(queue, 8, window=5.0) == ([], pytest.approx(0.05, abs=SLACK_S))
    closing.join()


def staggered(delay: float, count: int) -> Iterator[np.ndarray]:
    """Pictures of a camera that shows each of its parts a little later than the first camera does."""
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + 0.12 * number + delay - time.monotonic()))
        yield np.full((48, 64, 3), 50, np.uint8)


def run_line(detector: Detector, settings: StationConfig, parts: int = 4) -> Memory:
    sink = Memory()
    line = replace(settings_of(settings), camera_backoff=QUICK.camera_backoff, health=False, drain=0.5)
    cameras = [Camera(str(index), Scripted(staggered(0.01 * index, parts)), policy="every") for index in range(3)]
    Pipeline(cameras, detector, [sink], line).run()
    return sink


def test_three_cameras_are_one_batch_of_the_line(tiny_bundle: Path) -> None:
    with fake_detector(tiny_bundle) as detector:
        sink = run_line(detector, StationConfig(batch=4, batch_window=100))
        calls = detector.engine.calls
    assert sum(calls) == len(sink.results) == 12
    assert calls.count(3) >= 2  # in the first turn the line learns which cameras are there, and a machine may be busy
    with fake_detector(tiny_bundle, batch=2) as detector:  # as many as the engine gains by
        run_line(detector, StationConfig(batch_window=100))
        assert max(detector.engine.calls) == 2


def test_a_lost_camera_keeps_no_other_waiting(tiny_bundle: Path) -> None:
    sink = Memory()
    settings = replace(QUICK, batch=2, batch_window=0.2)
    cameras = [Camera("here", Scripted(staggered(0.0, 4)), policy="every"), Camera("gone", Scripted([]))]
    with fake_detector(tiny_bundle) as detector:
        Pipeline(cameras, detector, [sink], settings).run()
    assert [result.camera for result in sink.results] == ["here"] * 4
    assert sorted(result.age for result in sink.results)[1] < 1e3 * SLACK_S


@pytest.mark.parametrize("name", ["onnx", "tensorrt"])
def test_a_batch_of_cameras_reads_as_each_alone(
    name: str, tiny_bundle: Path, gpu_machine: emulated.Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(tiny_bundle)
    artifacts = tuple(msgspec.structs.replace(one, batches=(1, 4)) for one in bundle.manifest.artifacts)
    manifest = msgspec.structs.replace(bundle.manifest, artifacts=artifacts)
    several = Bundle(manifest, bundle.members(), bundle.digest, None)
    with load_engine(several, name) as engine:
        sizes: list[int] = []
        infer = engine.infer
        monkeypatch.setattr(engine, "infer", lambda frames: (sizes.append(len(frames)), infer(frames))[1])
        with Detector(several, engine=engine) as detector:
            sink = run_line(detector, StationConfig(batch=4, batch_window=100))
        assert max(sizes) == 3
        assert len({round(result.raw_score, 5) for result in sink.results}) == 1
        assert len(sink.results) == 12


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"batch_window": 50, "deadline": 50}, "batch-window must be below the deadline"),
        (
            {"batch_window": 100, "trigger": ["http:0"], "answer_within": 250},
            "window and batch-window together",
        ),
        ({"trigger": ["http:0"], "answer_within": 150}, "trigger-delay and trigger-window together"),
    ],
)
def test_a_window_that_leaves_no_time_is_refused(settings: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        StationConfig(**settings)  # type: ignore[arg-type]
