"""Results reach every sink once, by a number that never repeats, and wait where a disk is full."""

from __future__ import annotations

import json
import threading

import pytest
from lines import QUICK, Memory, Scripted, background, flapping, images, paced
from programs import until

from edgead import Detector, Frame
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline

pytestmark = pytest.mark.usefixtures("no_thread_left")


def test_numbers_never_repeat_in_a_run_however_often_cameras_are_lost(quick: Detector) -> None:
    sink = Memory()
    cameras = [
        Camera("a", None, flapping(5, frames=3), policy="every"),
        Camera("b", None, flapping(2, frames=4), policy="every"),
    ]
    Pipeline(cameras, quick, [sink], QUICK).run()
    assert [result.number for result in sink.results] == list(range(1, len(sink.results) + 1))
    for name, count in (("a", 18), ("b", 12)):
        assert [result.index for result in sink.results if result.camera == name] == list(range(count))
    assert json.loads(sink.results[-1].to_json())["number"] == 30


def test_trouble_that_comes_and_goes_is_said_once_in_a_while(
    quick: Detector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(frame: Frame) -> None:
        if frame.index % 2:
            raise OSError(27, "one event takes 5 bytes, the quota is 4")

    def messages() -> list[str]:
        caplog.clear()
        status = Pipeline([Camera("", Scripted(images(20)), policy="every")], quick, [Memory(act)], QUICK).run()
        assert status.unwritten == {"Memory": 10}
        return [message.split(":")[0] for message in caplog.messages]

    caplog.set_level("WARNING", logger="edgead.stream.sink_worker")
    assert messages() == ["Memory cannot write", "Memory writes again"]
    monkeypatch.setattr("edgead.stream.sink_worker.REPEAT_S", 0.0)
    assert len(messages()) > 10


def test_a_disk_that_is_full_for_a_while_costs_no_live_result(quick: Detector) -> None:
    full = threading.Event()
    full.set()

    def act(frame: Frame) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")

    sink = Memory(act)
    line = Pipeline([Camera("", Scripted(paced(300)), policy="every")], quick, [sink], QUICK)
    thread = background(line)
    until(lambda: line.status().frames > 20)
    assert sink.results == []
    full.clear()
    until(lambda: len(sink.results) > 40)
    full.set()
    until(lambda: line.status().frames > 100)
    line.stop()
    thread.join(30)
    numbers = [result.number for result in sink.results]
    assert numbers == list(range(1, len(numbers) + 1))
    status = line.status()
    assert sum(status.unwritten.values()) == status.frames - len(numbers) > 0  # the disk is still full: counted
