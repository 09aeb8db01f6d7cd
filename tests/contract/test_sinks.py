"""What every sink of the table must keep."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from programs import until

from edgead import Detector, Frame, Result
from edgead.errors import DataError, EdgeadError, UsageError
from edgead.stream.pipeline import run
from edgead.stream.sinks import SINKS, open_sink
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.images import ImageFolder, name_of
from edgead.stream.sinks.jsonl import JsonLines
from edgead.stream.sinks.video import VideoFile
from edgead.stream.sources.images import ImageSource

DEAD = "127.0.0.1:9"  # where nobody listens
SPECS = {  # with a folder to write to, where the sink has one
    "jsonl": "jsonl:{folder}/results.jsonl",
    "images": "images:{folder}",
    "video": "video:{folder}/seen.mp4",
    "keep": "keep:{folder}",
    "mqtt": f"mqtt://{DEAD}/line?queue={{folder}}",
    "mqtts": f"mqtts://{DEAD}/line?queue={{folder}}",
    "metrics": "metrics:0",
    "web": "web:0",
    "http": f"http://{DEAD}/#retry=0.01&queue={{folder}}",
    "https": f"https://{DEAD}/#retry=0.01&queue={{folder}}",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Over every own sink, or the one of --sink, which another package may have."""
    if "sink_spec" in metafunc.fixturenames:
        given = metafunc.config.getoption("--sink")
        metafunc.parametrize("sink_spec", [given] if given else [SPECS[kind] for kind in sorted(SINKS.builtin)])
    if "kind" in metafunc.fixturenames and metafunc.definition.get_closest_marker("parametrize") is None:
        metafunc.parametrize("kind", sorted(SINKS.builtin))


def filled(template: str, tmp_path: Path) -> str:
    return template.format(folder=tmp_path / "deep/er")


def emit(sink: object, detector: Detector, *frames: Frame) -> None:
    for frame in frames:
        sink.emit(frame, detector.detect(frame))


def test_frames_are_taken_and_left_alone(sink_spec: str, detector: Detector, tmp_path: Path) -> None:
    sink = open_sink(filled(sink_spec, tmp_path))
    image = tiny.bad()
    emit(sink, detector, Frame(image, 0, "a"), Frame(tiny.good(2, 31, 41), 1, "b"))
    sink.close()
    sink.close()
    assert np.array_equal(image, tiny.bad())
    if "{folder}" in sink_spec:
        assert [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]


def test_a_sink_says_what_it_is(sink_spec: str, tmp_path: Path) -> None:
    with open_sink(filled(sink_spec, tmp_path)) as sink:
        assert isinstance(sink, Sink)
        assert isinstance(sink.needs_pixels, bool)


def test_a_sink_of_ones_own_needs_two_methods_only(detector: Detector) -> None:
    class Names(Sink):
        def emit(self, frame: Frame, result: Result) -> None:
            names.append(frame.name)

        def close(self) -> None:
            names.append("closed")

    names: list[str] = []
    status = run(ImageSource([]), detector, [Names()])
    assert (names, status.unwritten) == (["closed"], {"Names": 0})
    with pytest.raises(TypeError, match="abstract"):
        Sink()  # type: ignore[abstract]


def test_closing_without_a_frame(sink_spec: str, tmp_path: Path) -> None:
    sink = open_sink(filled(sink_spec, tmp_path))
    sink.close()
    sink.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.parametrize("kind", [kind for kind in sorted(SINKS.builtin) if "{folder}" in SPECS[kind]])
def test_a_place_that_cannot_be_written_is_named(kind: str, tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("a file where a folder should be")
    with pytest.raises(EdgeadError, match="deep"):
        open_sink(filled(SPECS[kind], tmp_path))


@pytest.mark.parametrize("kind", ["jsonl", "images", "video", "keep"])
def test_a_path_may_be_given_apart(kind: str, detector: Detector, tmp_path: Path) -> None:
    sink = open_sink(kind, tmp_path / "deep?a=b.mp4")
    emit(sink, detector, Frame(tiny.bad(), 0, "a"))
    sink.close()
    assert (tmp_path / "deep?a=b.mp4").exists()


def test_every_example_can_be_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr("edgead.stream.sinks.read_call", lambda *parts: made.append(parts))
    open_sink(SINKS[kind].example)
    assert made[0][1] == kind


def test_no_thread_is_left_behind(sink_spec: str, detector: Detector, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    sink = open_sink(filled(sink_spec, tmp_path))
    emit(sink, detector, Frame(tiny.bad(), 0, "a"))
    sink.close()
    assert not [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()]


def test_json_lines_are_appended_and_flushed(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for index in range(2):
        sink = JsonLines(path)
        emit(sink, detector, Frame(tiny.bad(), index, "a"))
        assert len(path.read_text().splitlines()) == index + 1  # before it is closed
        sink.close()
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 1]
    with pytest.raises(DataError, match="cannot be written"):
        JsonLines(tmp_path)


def test_a_line_torn_by_a_full_disk_costs_that_line_alone(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    sink = JsonLines(path)
    real = os.write

    def full(handle: int, data: bytes) -> int:
        if path.stat().st_size >= 10:
            raise OSError(28, "No space left on device")
        return real(handle, data[:10])

    with monkeypatch.context() as patch:
        patch.setattr("edgead.files.os.write", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                emit(sink, detector, Frame(tiny.good(), 0))
    emit(sink, detector, Frame(tiny.good(), 1), Frame(tiny.good(), 2))
    sink.close()
    torn, *whole = path.read_text().splitlines()
    assert len(torn) == 10
    assert [json.loads(line)["index"] for line in whole] == [1, 2]


def test_a_line_torn_by_a_kill_costs_that_line_alone(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"index": 0}\n{"ind')
    sink = JsonLines(path)
    emit(sink, detector, Frame(tiny.good(), 1))
    sink.close()
    lines = path.read_text().splitlines()
    assert lines[:2] == ['{"index": 0}', '{"ind']
    assert json.loads(lines[2])["index"] == 1


def test_json_lines_go_on_in_a_new_file_once_the_old_was_rotated(detector: Detector, tmp_path: Path) -> None:
    path, old = tmp_path / "results.jsonl", tmp_path / "results.jsonl.1"
    sink = JsonLines(path)
    emit(sink, detector, Frame(tiny.good(), 0))
    path.rename(old)
    emit(sink, detector, Frame(tiny.good(), 1))
    os.truncate(path, 0)  # as copytruncate does
    emit(sink, detector, Frame(tiny.good(), 2))
    path.unlink()
    emit(sink, detector, Frame(tiny.good(), 3))
    sink.close()
    assert [json.loads(line)["index"] for line in old.read_text().splitlines()] == [0]
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [3]


@pytest.mark.parametrize(("sync", "lines"), [(0.0, 1), (0.05, 1), (3600.0, 0)])
def test_json_lines_are_on_the_disk_as_soon_as_promised(
    sync: float, lines: int, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    synced: list[int] = []
    monkeypatch.setattr("edgead.files.os.fsync", lambda handle: synced.append(path.read_text().count("\n")))
    sink = JsonLines(path, sync=sync)
    emit(sink, detector, Frame(tiny.good(), 0))
    until(lambda: len(synced) >= lines)
    assert synced == [1] * lines
    sink.close()
    assert synced[-1] == 1


def test_a_file_of_many_frames_is_a_video(detector: Detector, tmp_path: Path) -> None:
    sink = VideoFile(tmp_path / "seen.mp4", fps=10)
    emit(sink, detector, *(Frame(tiny.good(i, 47, 63), i) for i in range(4)), Frame(tiny.bad(1, 100, 100), 4))
    sink.close()
    capture = cv2.VideoCapture(str(tmp_path / "seen.mp4"))
    shapes = []
    while (read := capture.read())[0]:
        shapes.append(read[1].shape)
    capture.release()
    assert shapes == [(46, 62, 3)] * 5
    with pytest.raises(UsageError, match=r"end its name in \.mkv"):
        VideoFile(tmp_path / "seen.gif")


def test_pictures_never_overwrite_each_other(detector: Detector, tmp_path: Path) -> None:
    for _ in range(2):
        emit(ImageFolder(tmp_path), detector, Frame(tiny.good(), 1, "left/a.png"), Frame(tiny.bad(), 1, "right/a.png"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000001_a_NG-2.jpg", "000001_a_NG.jpg", "000001_a_OK-2.jpg", "000001_a_OK.jpg"]
    assert cv2.imread(str(tmp_path / names[0])).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("parts/a b.png", "000007_a_b"),
        ("../../../etc/passwd", "000007_passwd"),
        ("/", "000007"),
        ("..", "000007"),
        ("a\0b\nc.png", "000007_a_b_c"),
        ("ä.png", "000007_ä"),
        ("x" * 300 + ".png", "000007_" + "x" * 120),
        ("rtsp://***@camera.local/stream", "000007_camera.local"),
        ("camera:0", "000007_camera_0"),
        ("", "000007"),
    ],
)
def test_names_stay_in_their_folder(name: str, expected: str) -> None:
    assert name_of(Frame(tiny.good(), 7, name)) == expected


def test_live_frames_are_named_by_their_time() -> None:
    assert name_of(Frame(tiny.good(), 7, "camera:0", 1.25)) == "19700101T000001.250000_000007_camera_0"


def test_half_a_picture_is_not_left(detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def full(handle: int) -> None:  # written, and then the disk says that it is full
        seen.append([path.name for path in tmp_path.glob("*.jpg")])
        raise OSError(28, "No space left on device")

    sink = ImageFolder(tmp_path)
    monkeypatch.setattr("edgead.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        emit(sink, detector, Frame(tiny.good(), 1, "a"))
    assert seen == [[]]  # it has its name only once it is whole
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_left_is_removed(tmp_path: Path) -> None:
    for process in (2**22 + 1, os.getpid(), os.getppid()):
        (tmp_path / f".writing-{process}-00").write_bytes(b"half")
    ImageFolder(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == [f".writing-{os.getppid()}-00"]
