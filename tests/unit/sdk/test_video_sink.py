"""A video outlives a kill, never replaces another, and what it lacks is counted."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny

from edgead import Detector, Frame, Result
from edgead.stream.sinks import open_sink, video
from edgead.stream.sinks.video import VideoFile

WRITER = """
import sys, numpy as np
from pathlib import Path
from edgead.stream.sinks.video import VideoFile
class Drawn:
    def overlay(self, image): return image
sink = VideoFile(Path(sys.argv[1]), 10, segment=float(sys.argv[2]))
noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
while True:
    noise = np.roll(noise, 1)
    sink.emit(type("F", (), {"image": noise})(), Drawn())
    print(flush=True)
"""


def readable(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (240, 320, 3)).astype(np.uint8)


@pytest.fixture
def result(detector: Detector) -> Result:
    return detector.detect(Frame(tiny.good(1, 240, 320)))


@pytest.mark.parametrize(("name", "segment"), [("a.mkv", 0), ("a.webm", 0), ("a.avi", 0), ("a.mp4", 2)])
def test_a_video_outlives_a_kill(name: str, segment: float, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / name), str(segment)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for _ in range(45):
        assert child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    kept = sum(readable(path) for path in tmp_path.iterdir())
    assert kept >= (40 if segment else 20)  # all but the last segment, or but 256 KiB


def test_segments_follow_one_another_and_nothing_is_written_over(tmp_path: Path, result: Result) -> None:
    for _ in range(2):
        sink = open_sink(f"video:{tmp_path}/seen.mp4?fps=10&segment=0.5")
        for index in range(12):
            sink.emit(Frame(tiny.good(index, 240, 320)), result)
        sink.close()
        assert sink.lost() == {}
    found = {path.name: readable(path) for path in tmp_path.iterdir()}
    assert found == {
        "seen.mp4": 5, "seen-2.mp4": 5, "seen-3.mp4": 2, "seen-4.mp4": 5, "seen-5.mp4": 5, "seen-6.mp4": 2
    }  # fmt: skip


def test_a_full_disk_is_said_and_the_video_goes_on_when_there_is_room(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = VideoFile(tmp_path / "seen.mkv", 10)
    sink.emit(Frame(noise(0)), result)
    with monkeypatch.context() as full:
        usage = shutil.disk_usage(tmp_path)
        full.setattr(video.shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
        with pytest.raises(OSError, match=r"the disk of .*seen\.mkv is full"):
            sink.emit(Frame(noise(1)), result)
    sink.emit(Frame(noise(2)), result)
    sink.close()
    assert readable(tmp_path / "seen.mkv") == 2
    assert sink.lost() == {}


def test_what_the_disk_did_not_take_is_counted(
    tmp_path: Path, result: Result, caplog: pytest.LogCaptureFixture
) -> None:
    sink = VideoFile(tmp_path / "seen.mkv", 10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        for seed in range(60):
            sink.emit(Frame(noise(seed)), result)
        sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    (lost,) = sink.lost().values()
    assert 20 < lost <= 60
    assert f"{lost} of 60 frames were not written" in caplog.text
