"""The judging side of the line: what changes while it runs, and what a failing network costs."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import tiny
from lines import QUICK, Memory, Scripted, background, fake_detector, images, paced, threads
from programs import until

from edgead import Detector, Frame, Verdict
from edgead.errors import UsageError
from edgead.stream.cameras import open_cameras
from edgead.stream.capture import Camera
from edgead.stream.health import HealthCheck
from edgead.stream.inference import InferenceWorker
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


class Reopening:
    """Stands for `Detector.reopen`: what it is asked for, when it is let go on, and what it raises."""

    def __init__(self, detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        self._real = detector.reopen
        monkeypatch.setattr(detector, "reopen", self)

    def __call__(self, path: Path) -> Detector:
        self.asked.append(path.stem)
        assert self.go.wait(30)
        if path.stem == "fault":
            raise RuntimeError("a library is at fault")
        return self._real(path)


def test_a_loader_that_raises_anything_blocks_no_later_reload(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_tiny(tmp_path / "next.edgead", name="next")
    with Detector(tiny_bundle, engine="onnx", threads=1) as detector:
        opening = Reopening(detector, monkeypatch)
        opening.go.set()
        worker = InferenceWorker(detector)
        worker.replace_bundle(tmp_path / "fault.edgead")
        until(lambda: worker.fault == "RuntimeError: a library is at fault")
        worker.replace_bundle(tmp_path / "next.edgead")
        until(lambda: bool(worker.predict([(0, Frame(tiny.good()))])) and worker.detector is not detector)
        assert (worker.detector.bundle.manifest.name, worker.fault) == ("next", "")
        worker.close()


def test_a_reload_asked_for_during_loading_is_not_lost(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        tiny.write_tiny(tmp_path / f"{name}.edgead", name=name)
    with Detector(tiny_bundle, engine="onnx", threads=1) as detector:
        opening = Reopening(detector, monkeypatch)
        worker = InferenceWorker(detector)
        worker.replace_bundle(tmp_path / "one.edgead")
        until(lambda: opening.asked == ["one"])
        for name in ("two", "three"):
            worker.replace_bundle(tmp_path / f"{name}.edgead")
        opening.go.set()
        until(lambda: opening.asked[-1] == "three" and threads() == [])
        worker.predict([(0, Frame(tiny.good()))])
        assert worker.detector.bundle.manifest.name == "three"  # the newest; nobody wants the one between any more
        assert opening.asked == ["one", "three"]
        worker.close()


def test_a_bundle_for_another_bit_depth_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    """The cameras scale their 16-bit frames as they were opened: a part would be four times as bright."""
    spec = msgspec.structs.replace(tiny.manifest().input, bits=12)
    tiny.write_tiny(tmp_path / "twelve.edgead", name="twelve", input=spec)
    with Detector(tiny_bundle, engine="onnx", threads=1) as detector:
        worker = InferenceWorker(detector)
        worker.replace_bundle(tmp_path / "twelve.edgead")
        until(lambda: "is for pictures of 12 bits and the cameras give 16" in worker.fault)
        until(lambda: threads() == [])
        worker.predict([(0, Frame(tiny.good()))])
        assert worker.detector is detector
        worker.close()


def test_a_line_that_ends_does_not_wait_for_a_bundle(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_tiny(tmp_path / "next.edgead", name="next")
    monkeypatch.setattr("edgead.stream.inference.LOADER_S", 0.05)
    with Detector(tiny_bundle, engine="onnx", threads=1) as detector:
        opening = Reopening(detector, monkeypatch)
        worker = InferenceWorker(detector)
        worker.replace_bundle(tmp_path / "next.edgead")
        until(lambda: opening.asked == ["next"])
        start = time.monotonic()
        worker.close()
        assert time.monotonic() - start < 5
        opening.go.set()
        until(lambda: threads() == [])


def test_a_health_check_that_fails_costs_one_frame(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(frame: Frame, profile: object) -> list[str]:
        raise ValueError("an odd frame")

    health = HealthCheck()
    monkeypatch.setattr(health, "check", check)
    with fake_detector(tiny_bundle) as detector:
        (result,) = InferenceWorker(detector, [health]).predict([(0, Frame(tiny.good()))])
    assert result.verdict is Verdict.INVALID
    assert result.reasons == ("the camera's health could not be checked: ValueError: an odd frame",)


def test_drift_is_among_the_reasons_of_results_and_in_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with Detector(tiny.write_tiny(tmp_path / "tiny.edgead")) as detector:
        worker = InferenceWorker(detector, [HealthCheck()], titles=["line.mp4"])
        results = [worker.predict([(0, Frame(tiny.bad(index)))])[0] for index in range(60)]
        assert worker.drift.drifts()[0].startswith("DRIFT: most parts are NG; ")
    assert not any("DRIFT" in reason for reason in results[0].reasons)
    assert any("DRIFT" in reason for reason in results[-1].reasons)
    (said,) = (record.message for record in caplog.records if "DRIFT" in record.message)
    assert said.startswith("line.mp4: DRIFT: most parts are NG; ")


@pytest.mark.parametrize(("name", "title"), [("", "{folder}: "), ("left=", "camera left: ")])
def test_the_log_of_drift_names_the_camera_or_its_source(
    name: str, title: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(60):
        cv2.imwrite(str(folder / f"{number:02d}.png"), tiny.bad(number))
    with Detector(tiny.write_tiny(tmp_path / "tiny.edgead")) as detector:
        Pipeline(open_cameras([f"{name}{folder}"]), detector, []).run()
    (said,) = (record.message for record in caplog.records if "DRIFT" in record.message)
    assert said.startswith(title.format(folder=folder))


def test_what_the_camera_was_set_to_is_in_its_results(detector: Detector) -> None:
    worker = InferenceWorker(detector)
    frames = [Frame(tiny.good(), settings=(("exposure", "800"),)), Frame(tiny.good(), 1)]
    told = [result.to_dict() for result in worker.predict([(0, frame) for frame in frames])]
    assert told[0]["camera_settings"] == {"exposure": "800"}
    assert "camera_settings" not in told[1]
