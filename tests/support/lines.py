"""Engines, sources and sinks for tests of the line, made to be slow, to fail, to be lost and to come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edgead import Detector, Frame, Result
from edgead.closing import Closing
from edgead.engines.base import Engine
from edgead.errors import SourceError
from edgead.stream.backoff import Backoff
from edgead.stream.pipeline import Pipeline, PipelineSettings
from edgead.stream.sinks.base import Sink
from edgead.types import ImageU8, Reading

QUICK = PipelineSettings(
    camera_backoff=Backoff(0.001, 0.004), sink_backoff=Backoff(0.001, 0.004), drain=0.5, health=False
)


class Brightness(Engine):
    """An engine whose score is the mean brightness in 0..1: bright is strange, as the tiny bundle has it."""

    name = "fake"
    precision = "fp32"

    def __init__(self, seconds: float = 0.0, batch: int = 1, poison: int | None = None) -> None:
        """Takes `seconds` a call; fails on a frame whose first pixel is `poison`."""
        self.batch = batch
        self.calls: list[int] = []  # frames in each
        self.took: list[float] = []  # milliseconds
        self._seconds = seconds
        self._poison = poison

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        self.calls.append(len(images))
        start = time.monotonic()
        time.sleep(self._seconds)
        self.took.append(1e3 * (time.monotonic() - start))
        if any(image[0, 0, 0] == self._poison for image in images):
            raise RuntimeError("out of memory")
        levels = [float(image.mean()) / 255 for image in images]
        return [Reading(np.full((8, 8), level, np.float32), level, 0.1, 0.2, 0.1) for level in levels]

    def close(self) -> None:
        pass


def fake_detector(bundle: Path, seconds: float = 0.0, batch: int = 1, poison: int | None = None) -> Detector:
    """A detector on the tiny bundle whose network is `Brightness`."""
    return Detector(bundle, engine=Brightness(seconds, batch, poison))


class Scripted(Closing):
    """A source of given frames; then it ends, or raises what it was given."""

    fps = 0.0
    unreadable = 0

    def __init__(
        self,
        images: Iterable[ImageU8],
        error: Exception | None = None,
        *,
        live: bool = True,
        timeout: float = 5.0,
    ) -> None:
        self.live = live
        self.timeout = timeout
        self.closed = threading.Event()
        self._images = images
        self._error = error

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            if self.closed.is_set():
                return
            yield Frame(image, index, "scripted", time.time(), clock=time.monotonic())
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed.set()


def paced(fps: float, count: int = 10**9, level: int = 50) -> Iterator[ImageU8]:
    """Frames that come `fps` times a second, whoever waits for them."""
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + number / fps - time.monotonic()))
        yield np.full((8, 8, 3), level, np.uint8)


def flapping(times: int, frames: int = 1) -> Callable[[], Scripted]:
    """Opens a camera that is lost after a few frames, and every second time is not there at all; at last it ends."""
    tries = iter(range(2 * times + 1))

    def reopen() -> Scripted:
        number = next(tries)
        if number % 2:
            raise SourceError("cam cannot be opened: no route to it")
        images = [np.full((8, 8, 3), 50, np.uint8)] * frames
        return Scripted(images, None if number == 2 * times else SourceError("cam was lost"))

    return reopen


class Memory(Sink):
    """A sink that remembers the results, and may be slow, fail or hang."""

    def __init__(self, act: Callable[[Frame], None] = lambda frame: None) -> None:
        self.results: list[Result] = []
        self.closed = 0
        self._act = act

    def emit(self, frame: Frame, result: Result) -> None:
        self._act(frame)
        self.results.append(result)

    def close(self) -> None:
        self.closed += 1


_of_others: set[threading.Thread] = set()


def begin_counting_threads() -> None:
    """Leave the threads that are alive now out of `threads`: they are of another test's server."""
    _of_others.clear()
    _of_others.update(threading.enumerate())


def threads() -> list[str]:
    """The threads of edgead that are alive and were begun since `begin_counting_threads`."""
    alive = set(threading.enumerate()) - _of_others
    return [thread.name for thread in alive if thread.name.startswith("edgead")]


def images(count: int, level: int = 50) -> list[ImageU8]:
    """Frames of one even level."""
    return [np.full((8, 8, 3), level, np.uint8)] * count


def background(line: Pipeline) -> threading.Thread:
    """The line at work in a thread of its own."""
    thread = threading.Thread(target=line.run, daemon=True)  # a test that fails must not keep the others waiting
    thread.start()
    return thread
