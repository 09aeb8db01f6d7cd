"""A video or a folder of images as a camera: at its pace, over and over."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import cv2
import pytest
import tiny

from edgead.errors import SourceError
from edgead.stream.sources import open_source
from edgead.stream.sources.replay import ReplayCapture


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), tiny.good(number))
    return folder


def test_images_come_over_and_over_at_the_rate_that_is_asked_for(images: Path) -> None:
    with open_source(f"replay:{images}?fps=50") as source:
        start = time.monotonic()
        frames = list(itertools.islice(source, 8))
        assert time.monotonic() - start >= 7 / 50
    assert source.live
    assert source.fps == 50
    assert [frame.index for frame in frames] == list(range(8))
    assert [frame.image.tobytes() for frame in frames] == [tiny.good(number % 3).tobytes() for number in range(8)]
    assert len({frame.time for frame in frames}) == 8


def test_so_many_times_and_then_it_is_over(images: Path) -> None:
    with open_source(f"replay:{images}/*.png?fps=500&times=2") as source:
        assert len(list(source)) == 6


def test_what_is_wrong_with_files_is_said_once(images: Path, caplog: pytest.LogCaptureFixture) -> None:
    (images / "3.png").write_bytes(b"no image")
    (images / "deeper").mkdir()
    cv2.imwrite(str(images / "deeper/0.png"), tiny.good(0))
    with open_source(f"replay:{images}?fps=500&times=3") as source:
        assert len(list(source)) == 9
    folder, broken = (record.message for record in caplog.records)
    assert folder.startswith("1 folder in ")
    assert "3.png is damaged" in broken


def test_a_video_that_ends_early_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(30):
        writer.write(tiny.good(number))
    writer.release()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with open_source(f"replay:{path}?fps=500&times=3") as source:
        assert len(list(source)) > 9
    said = [record.message for record in caplog.records if "it may be damaged" in record.message]
    assert len(said) == 1


def test_closing_wakes_who_waits_for_the_next_frame(images: Path) -> None:
    with open_source(f"replay:{images}?fps=0.01", timeout=0) as source:
        frames = iter(source)
        next(frames)
        threading.Timer(0.1, source.close).start()
        start = time.monotonic()
        assert next(frames, None) is None
        assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("replay:{folder}?speed=2", "a replay has no 'speed'"),
        ("replay:{folder}?fps=0", "fps of a replay is a number from 0.01 to 1000, not '0'"),
        ("replay:{folder}?times=1.5", "times of a replay"),
        ("replay:{folder}/none.mp4", "there is no video at"),
        ("replay:camera:0", "takes a video or a folder of images"),
    ],
)
def test_what_cannot_be_shown_is_said(images: Path, spec: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        open_source(spec.format(folder=images))


def test_files_that_are_gone_are_said(images: Path) -> None:
    capture = ReplayCapture(lambda: open_source(str(images)), fps=500)
    for _ in range(3):
        assert capture.grab()
    for path in images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(SourceError, match="no readable frame"):
        capture.grab()
    capture.release()
