"""A line without cameras behind the live page."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

import tiny

from edgead import Detector, Frame, Result
from edgead.errors import DataError
from edgead.stream.sinks.base import PipelineControl, Sink
from edgead.stream.sinks.web import Web
from edgead.stream.status import CONNECTED, ENDED, LOST, CameraStatus, PipelineStatus


class Pipeline:
    """A line that judges in a thread: nineteen good parts, then a bad one, over and over."""

    areas = None  # of a station

    def __init__(self, sink: Web, detector: Detector, cameras: tuple[str, ...] = ("left",)) -> None:
        self.factor, self.lost, self.broken, self.set_by, self.ended = 1.0, False, "", "", False
        self.extra: dict[str, Any] = {}  # of every result
        self._frames = [detector.detect(Frame(image)) for image in (*map(tiny.good, range(19)), tiny.bad())]
        self._images = [*map(tiny.good, range(19)), tiny.bad()]
        self._sink, self._cameras, self._ending = sink, cameras, threading.Event()
        sink.attach(self)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def status(self) -> PipelineStatus:
        error = "the cable is out" if self.lost else ""
        state = LOST if self.lost else ENDED if self.ended else CONNECTED
        camera = CameraStatus("camera:0", state, time.time(), error)
        cameras = dict.fromkeys(self._cameras, camera)
        return PipelineStatus(threshold=self.factor, engine="onnx", cameras=cameras, fault=self.broken, fps=10.0)

    def set_threshold(self, factor: float, who: str = "") -> None:
        if self.broken:
            raise DataError(self.broken)
        self.factor, self.set_by = factor, who

    def fire(self, source: str, part: str = "") -> None:
        raise DataError("this line has no triggers")

    def _run(self) -> None:
        index = 0
        while not self._ending.wait(0.1):
            for camera in () if self.lost or self.ended else self._cameras:
                frame = Frame(self._images[index % 20], index, "part", time.time(), camera)
                known = self._frames[index % 20]
                result = dataclasses.replace(known, index=index, name="part", camera=camera, age=20.0, extra=self.extra)
                self._sink.emit(frame, result)
            index += 1

    def close(self) -> None:
        self._ending.set()
        self._thread.join()


class Both(Sink):
    """What the page shows is kept, too."""

    def __init__(self, page: Web, kept: Sink) -> None:
        self._page, self._kept = page, kept

    def attach(self, pipeline: PipelineControl) -> None:
        self._page.attach(pipeline)

    def emit(self, frame: Frame, result: Result) -> None:
        self._kept.emit(frame, result)
        self._page.emit(frame, result)

    def close(self) -> None:
        self._page.close()
        self._kept.close()
