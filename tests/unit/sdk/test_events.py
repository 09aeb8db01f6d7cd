"""What is kept stays under its quota, appears whole, survives a restart, and nothing of others is touched."""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import Detector, Frame, Result, Verdict
from edgead.errors import UsageError
from edgead.stream.sinks import archive as archive_module
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.archive import FILES, Archive
from edgead.stream.sinks.events import EventRecorder
from edgead.stream.status import PipelineStatus

BLOCK = 4096
NOON = 1_750_000_000.0  # some day


def events(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/*/result.json"))


def judged(detector: Detector, verdict: Verdict = Verdict.NG, score: float = 3.0, time: float = 0.0) -> tuple:
    frame = Frame(tiny.bad(), 7, "camera:0", time or NOON)
    return frame, dataclasses.replace(detector.detect(frame), verdict=verdict, score=score)


def add(archive: Archive, number: int, blocks: int = 1) -> Path:
    name = f"20250615T120000.{number:06d}_{number:06d}_x_NG"
    return archive.add(name, NOON + number * 1e-6, {"result.json": b"x" * (blocks * BLOCK)})


def test_an_anomaly_is_three_files_that_appear_together(detector: Detector, tmp_path: Path) -> None:
    sink = EventRecorder(tmp_path)
    frame, result = judged(detector)
    sink.emit(frame, result)
    (event,) = events(tmp_path)
    assert event.parent.name == "2025-06-15"
    assert event.name.endswith("_000007_camera_0_NG")
    assert sorted(path.name for path in event.iterdir()) == ["frame.png", "heatmap.jpg", "result.json"]
    assert np.array_equal(cv2.imread(str(event / "frame.png")), frame.image)
    assert cv2.imread(str(event / "heatmap.jpg")).shape == frame.image.shape
    told = json.loads((event / "result.json").read_text())
    assert (told["verdict"], told["kept_for"]) == ("NG", "verdict NG")
    sink.close()


@pytest.mark.parametrize(
    ("verdict", "score", "why"),
    [
        (Verdict.NG, 9.0, "verdict NG"),
        (Verdict.REVIEW, 0.7, "verdict REVIEW"),
        (Verdict.OK, 0.85, "borderline score"),
        (Verdict.OK, 0.5, None),
        (Verdict.OK, float("nan"), None),
        (Verdict.INVALID, 1.0, None),
        (Verdict.LATE, 1.0, None),
    ],
)
def test_what_is_kept(detector: Detector, tmp_path: Path, verdict: Verdict, score: float, why: str | None) -> None:
    sink = open_sink(f"keep:{tmp_path}?band=0.2&format=jpg")
    sink.emit(*judged(detector, verdict, score))
    sink.close()
    kept = [json.loads((event / "result.json").read_text())["kept_for"] for event in events(tmp_path)]
    assert kept == ([why] if why else [])


def test_some_good_parts_are_kept_at_random(detector: Detector, tmp_path: Path) -> None:
    sink = open_sink(f"keep:{tmp_path}?band=0&good=0.3")
    for _ in range(200):
        sink.emit(*judged(detector, Verdict.OK, 0.1))
    sink.emit(*judged(detector, Verdict.INVALID, float("nan")))
    sink.close()
    kept = [json.loads((event / "result.json").read_text())["kept_for"] for event in events(tmp_path)]
    assert 25 < len(kept) < 100  # 60 are to be expected, and 8 standard deviations are 52
    assert set(kept) == {"random sample"}
    with pytest.raises(UsageError, match="good must be from 0 to 1"):
        open_sink(f"keep:{tmp_path}?good=2")


def test_the_band_follows_the_threshold(detector: Detector, tmp_path: Path) -> None:
    class Pipeline:
        def status(self) -> PipelineStatus:
            return PipelineStatus(threshold=2.0)

    sink = EventRecorder(tmp_path, verdicts=frozenset())
    sink.attach(Pipeline())
    for score in (1.0, 1.95):
        sink.emit(*judged(detector, score=score))
    sink.close()
    assert [json.loads((event / "result.json").read_text())["score"] for event in events(tmp_path)] == [1.95]


def test_events_of_one_moment_stand_beside_each_other(detector: Detector, tmp_path: Path) -> None:
    sink = EventRecorder(tmp_path, days=1e6)
    for _ in range(3):
        sink.emit(*judged(detector))
    sink.close()
    assert [event.name[-4:] for event in events(tmp_path)] == ["0_NG", "NG-2", "NG-3"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 4), st.none()), max_size=25), st.integers(4, 9))
def test_the_quota_holds_and_the_newest_stay(steps: list[int | None], quota: int) -> None:
    """Any sequence of events of 1 to 4 blocks, and of restarts (None), beside files of a person."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = Archive(folder, quota * BLOCK, 1e6, 0)
        wanted: list[tuple[str, int]] = []
        (folder / "2025-06-15").mkdir()
        (folder / "2025-06-15/notes.txt").write_text("mine")
        (folder / "mine").mkdir()
        (folder / "mine/result.json").write_text("mine")
        for number, blocks in enumerate(steps):
            if blocks is None:
                archive.close()
                archive = Archive(folder, quota * BLOCK, 1e6, 0)
            else:
                wanted.append((add(archive, number, blocks).name, blocks))
                while sum(blocks for _, blocks in wanted) > quota:
                    wanted.pop(0)
            assert [event.name for event in events(folder)] == [name for name, _ in wanted]
            assert archive.bytes == sum(blocks for _, blocks in wanted) * BLOCK
        archive.close()
        assert (folder / "2025-06-15/notes.txt").exists()
        assert (folder / "mine/result.json").exists()


def test_what_a_person_put_into_an_event_outlives_it(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 2 * BLOCK, 1e6, 0)
    first = add(archive, 1)
    (first / "label.txt").write_text("scratch")
    add(archive, 2)
    add(archive, 3)
    archive.close()
    assert [path.name for path in first.iterdir()] == ["label.txt"]
    again = Archive(tmp_path, 2 * BLOCK, 1e6, 0)
    assert len(again) == 2
    again.close()


def test_a_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere/20250615T120000.000000_000000_x_NG"
    elsewhere.mkdir(parents=True)
    (elsewhere / "result.json").write_text("{}")
    kept = tmp_path / "kept"
    (kept / "2025-06-15").mkdir(parents=True)
    (kept / "2025-06-15" / elsewhere.name).symlink_to(elsewhere)
    (kept / "2025-06-14").symlink_to(elsewhere.parent)
    archive = Archive(kept, BLOCK, 1e-9, 0)
    archive.expire()
    archive.close()
    assert (elsewhere / "result.json").exists()


def test_a_power_cut_leaves_no_half_event(tmp_path: Path) -> None:
    (tmp_path / ".writing-0123").mkdir()
    (tmp_path / ".writing-0123/frame.png").write_bytes(b"half")
    archive = Archive(tmp_path, BLOCK, 1, 0)
    assert len(archive) == 0
    archive.close()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_two_programs_do_not_share_a_folder(tmp_path: Path) -> None:
    sink = EventRecorder(tmp_path)
    with pytest.raises(UsageError, match="another edgead writes to"):
        EventRecorder(tmp_path)
    sink.close()
    EventRecorder(tmp_path).close()


def test_a_disk_filled_by_others_costs_one_old_event_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path, 100 * BLOCK, 1e6, 50 * BLOCK)
    for number in range(3):
        add(archive, number)
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda path: _Usage)
    add(archive, 3)
    assert [event.name[23:29] for event in events(tmp_path)] == ["000001", "000002", "000003"]
    add(archive, 4, blocks=2)
    assert len(events(tmp_path)) == 2
    with pytest.raises(OSError, match="would be left on the disk"):
        add(archive, 5, blocks=40)
    assert len(events(tmp_path)) == 2  # what is there is not given up for what cannot be had
    archive.close()


class _Usage:
    free = 0


def test_a_full_disk_leaves_no_half_event_and_the_next_one_is_kept(detector: Detector, tmp_path: Path) -> None:
    sink = EventRecorder(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    frame = Frame(noise, 1, "a", NOON)
    result: Result = dataclasses.replace(detector.detect(frame), verdict=Verdict.NG)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # a PNG of noise is longer
    try:
        with pytest.raises(OSError, match="File too large"):
            sink.emit(frame, result)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    sink.emit(frame, result)
    sink.close()
    assert len(events(tmp_path)) == 1


def test_an_event_that_vanished_is_no_trouble(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 2 * BLOCK, 1e6, 0)
    gone = add(archive, 1)
    for name in FILES:
        (gone / name).unlink(missing_ok=True)
    gone.rmdir()
    for number in (2, 3):
        add(archive, number)
    archive.close()
    assert len(events(tmp_path)) == 2


@pytest.mark.parametrize("options", ["format=gif", "band=-1", "days=0", "quota=0"])
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: str) -> None:
    with pytest.raises(UsageError):
        open_sink(f"keep:{tmp_path}?{options}")
    assert list(tmp_path.iterdir()) == []
