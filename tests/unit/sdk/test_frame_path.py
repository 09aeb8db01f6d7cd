"""The path of one frame, from the camera to a sink: which files it crosses, and how often it changes the thread."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType

from capture import FakeCapture, gray

import edgead
from edgead import Detector, Frame
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.sinks.jsonl import JsonLines
from edgead.stream.sources.live import LiveSource

MOST_FILES = 9
MOST_HANDOVERS = 2


def holds_a_frame(value: object) -> bool:
    return isinstance(value, Frame) or (isinstance(value, (list, tuple)) and any(map(holds_a_frame, value)))


def test_the_path_of_a_frame_is_short(quick: Detector, tmp_path: Path) -> None:
    """Every file of edgead with a function that is given the frame or gives it, with health checks at work."""
    package = str(Path(edgead.__file__).parent)
    files: dict[str, set[str]] = {}

    def profile(code: FrameType, event: str, result: object) -> None:
        if not code.f_code.co_filename.startswith(package) or event not in ("call", "return"):
            return
        values = [result] if event == "return" else [v for k, v in code.f_locals.items() if k != "self"]
        if any(map(holds_a_frame, values)):
            name = Path(code.f_code.co_filename).relative_to(package).as_posix()
            files.setdefault(name, set()).add(threading.current_thread().name)

    source = LiveSource(FakeCapture([gray(50)], count=1.0), "camera:0")
    line = Pipeline([Camera("", source)], quick, [JsonLines(tmp_path / "r.jsonl")])
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        assert line.run().frames == 1
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert {"stream/sources/live.py", "stream/inference.py", "stream/sinks/jsonl.py"} < files.keys()
    assert len(files) <= MOST_FILES, sorted(files)
    assert len(set().union(*files.values())) - 1 <= MOST_HANDOVERS
