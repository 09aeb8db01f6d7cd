"""The judging side of the line: what changes while it runs, and what a failing network costs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tiny
from lines import QUICK, Memory, Scripted, background, fake_detector, images, paced
from programs import until

from edgead import Detector, Verdict
from edgead.errors import UsageError
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline

pytestmark = pytest.mark.usefixtures("no_thread_left")


def test_a_crash_of_the_network_costs_one_frame(tiny_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = Memory()
    with fake_detector(tiny_bundle, batch=2, poison=77) as detector:
        cameras = [
            Camera("a", Scripted([*images(2), *images(1, 77), *images(3)], live=False)),
            Camera("b", Scripted(images(6), live=False)),
        ]
        status = Pipeline(cameras, detector, [sink], QUICK).run()
    verdicts = {name: [r.verdict.value for r in sink.results if r.camera == name] for name in "ab"}
    assert verdicts == {"a": ["OK", "OK", "INVALID", "OK", "OK", "OK"], "b": ["OK"] * 6}
    bad = next(result for result in sink.results if result.verdict is Verdict.INVALID)
    assert bad.reasons == ("it could not be judged: RuntimeError: out of memory",)
    assert json.loads(bad.to_json())["score"] is None
    assert bad.overlay(np.zeros((8, 8, 3), np.uint8)).shape == (8, 8, 3)
    assert status.verdicts["INVALID"] == 1
    assert [m.split(":")[0] for m in caplog.messages] == ["frame 2 of scripted", "frames are judged again"]


def test_the_threshold_is_changed_while_the_line_runs(quick: Detector) -> None:
    sink = Memory()
    line = Pipeline([Camera("", Scripted(paced(500, level=175)))], quick, [sink], QUICK)  # a score of 1.2
    thread = background(line)
    until(lambda: len(sink.results) > 5)
    line.set_threshold(1.5)
    until(lambda: sink.results[-1].verdict is Verdict.OK)
    assert line.status().threshold == 1.5
    assert sink.results[-1].threshold == pytest.approx(0.2 + 1.5 * 0.4)
    assert sink.results[0].verdict is Verdict.NG
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="above 0"):
            line.set_threshold(wrong)
    line.stop()
    thread.join(30)


def test_the_bundle_is_changed_without_missing_a_frame(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    changed = tmp_path / "next.edgead"
    tiny.write_tiny(changed, name="next")
    (tmp_path / "broken.edgead").write_bytes(b"PK")
    sink, source = Memory(), Scripted(paced(300))
    with Detector(tiny_bundle, threads=1) as detector:
        line = Pipeline([Camera("", source, policy="every")], detector, [sink], QUICK)
        thread = background(line)
        until(lambda: len(sink.results) > 5)
        line.replace_bundle(tmp_path / "broken.edgead")
        until(lambda: line.status().fault != "")
        line.set_threshold(2.0)
        line.replace_bundle(changed)
        until(lambda: line.status().model == "next")
        seen = len(sink.results)
        until(lambda: len(sink.results) > seen + 5)
        line.stop()
        thread.join(30)
        assert (line.status().fault, line.status().threshold) == ("", 2.0)
        detector.detect(next(iter(Scripted(images(1)))))  # the caller's own detector is still open
    assert [result.index for result in sink.results] == list(range(len(sink.results)))
    assert len({result.model for result in sink.results}) == 2
    assert sink.results[-1].verdict is Verdict.OK
    assert "the bundle is not changed" in caplog.text
