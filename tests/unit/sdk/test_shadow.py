"""A shadow judges the same frames in a process of its own, touches nothing of the line, and what it says is kept."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import cv2
import msgspec
import pytest
import tiny
from lines import fake_detector
from programs import until

from edgead import Detector, Frame, Pipeline, StationConfig, Verdict
from edgead.bundle import Bundle
from edgead.errors import DataError, UsageError
from edgead.stream.shadow.process import Settings
from edgead.stream.shadow.record import Recorder, disagreements, newest_record, read_summary
from edgead.stream.shadow.report import share_interval
from edgead.stream.shadow.sink import Shadow


def strict(folder: Path) -> Path:
    """A bundle that calls good parts NG."""
    low = msgspec.structs.replace(tiny.THRESHOLDS, image=0.15, image_center=0.1)
    artifact = msgspec.structs.replace(tiny.manifest().artifacts[0], thresholds=low)
    path = folder / "strict.edgead"
    tiny.write_tiny(path, artifacts=(artifact,))
    return path


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Four parts, the last of them bad."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), tiny.bad(number) if number == 3 else tiny.good(number))
    return folder


def run(tiny_bundle: Path, parts: Path, **settings: object) -> list[tuple[Verdict, float]]:
    found: list[tuple[Verdict, float]] = []
    config = StationConfig(bundle=str(tiny_bundle), source=str(parts), engine="onnx", threads=1, **settings)
    with Pipeline.from_config(config, on_result=lambda one: found.append((one.verdict, one.score))) as line:
        line.run()
    return found


def test_every_file_is_compared_and_the_line_judges_as_without(tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    shadow = strict(tmp_path)
    alone = run(tiny_bundle, parts)
    assert run(tiny_bundle, parts, shadow=str(shadow), ignore=["0,0,64,2"]) == alone
    record = newest_record(shadow)
    summary = read_summary(record)
    assert (summary.line, summary.shadow) == (Bundle.open(tiny_bundle).digest, Bundle.open(shadow).digest)
    assert summary.counts == {"": {"OK": {"NG": 3}, "NG": {"NG": 1}}}
    assert (summary.judged, summary.agreed, summary.skipped) == (4, 1, 0)
    assert len(summary.scores) == 4
    assert summary.latency_ms.keys() == summary.line_latency_ms.keys() == {"p50", "p95", "p99"}
    (one, *_) = disagreements(record)
    told = json.loads((one / "result.json").read_text())
    assert (told["line"]["verdict"], told["shadow"]["verdict"]) == ("OK", "NG")
    assert cv2.imread(str(one / "shadow.jpg")).shape == (48, 64, 3)

    run(tiny_bundle, parts, shadow=str(shadow))
    assert read_summary(record).judged == 8  # it goes on


def test_areas_hold_for_the_shadow_too(tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    shadow = strict(tmp_path)
    whole = ["0,0,64,48"]
    run(tiny_bundle, parts, shadow=str(shadow), judge=whole)
    (at,) = [pair for pair in read_summary(newest_record(shadow)).scores if pair[0] > 1]
    run(tiny_bundle, parts, shadow=str(shadow), ignore=["32,24,32,24"])
    scores = read_summary(newest_record(shadow)).scores
    assert max(line for line, _ in scores[4:]) < 1
    assert max(shadow for _, shadow in scores[4:]) < at[1]


def live(detector: Detector, sink: Shadow, level: int = 0) -> None:
    frame = Frame(tiny.bad(level) if level else tiny.good(), level, "camera:0", 1_750_000_000.0 + level)
    sink.emit(frame, detector.detect(frame))


def test_a_live_line_never_waits_for_it(tiny_bundle: Path, tmp_path: Path, detector: Detector) -> None:
    bundle = strict(tmp_path)
    settings = Settings(bundle=str(bundle), line=Bundle.open(tiny_bundle).digest, engine="onnx", idle=False)
    with Shadow(settings) as shadow:
        live(detector, shadow)  # while it is being loaded
        assert shadow.shadow()["waiting"]
        until(lambda: live(detector, shadow) or not shadow.shadow()["waiting"], 120)
        until(lambda: live(detector, shadow, 1) or shadow.shadow()["judged"] >= 2, 120)
        told = shadow.shadow()
        assert told["skipped"] > 0
        assert told["fault"] == ""
        assert told["agreed"] < told["judged"]
        assert Path(f"/proc/{shadow._process.pid}/oom_score_adj").read_text() == "1000\n"
    assert shadow._process.returncode is not None


@pytest.mark.slow
def test_it_takes_only_time_that_nobody_else_wants(tiny_bundle: Path, tmp_path: Path, detector: Detector) -> None:
    settings = Settings(bundle=str(strict(tmp_path)), line=Bundle.open(tiny_bundle).digest, engine="onnx")
    with Shadow(settings) as shadow:
        until(lambda: live(detector, shadow) or not shadow.shadow()["waiting"], 250)  # on a busy machine it gets little
        threads = [int(thread.name) for thread in Path(f"/proc/{shadow._process.pid}/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}


def test_a_shadow_that_ends_is_said_and_the_line_goes_on(
    tiny_bundle: Path, tmp_path: Path, detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(bundle=str(strict(tmp_path)), line=Bundle.open(tiny_bundle).digest, engine="onnx", idle=False)
    with Shadow(settings, patient=True) as shadow:
        live(detector, shadow)
        shadow._process.kill()
        shadow._process.wait()
        live(detector, shadow)
        live(detector, shadow)
        assert shadow.shadow()["fault"] == "the shadow strict.edgead has ended with -9; the line goes on without it"
    assert sum("has ended with" in record.message for record in caplog.records) == 1


def test_another_bundle_of_the_line_is_not_compared(tiny_bundle: Path, tmp_path: Path, detector: Detector) -> None:
    settings = Settings(bundle=str(strict(tmp_path)), line="f" * 64, engine="onnx", idle=False)
    with Shadow(settings) as shadow:
        live(detector, shadow)
        assert shadow.shadow()["fault"].startswith(f"the line judges with {detector.model} now")


def test_the_bundle_in_force_is_no_shadow(tiny_bundle: Path, parts: Path) -> None:
    with pytest.raises(UsageError, match="is the bundle that judges"):
        run(tiny_bundle, parts, shadow=str(tiny_bundle))


def test_pictures_are_kept_up_to_a_number(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgead.stream.shadow import record as module

    monkeypatch.setattr(module, "KEPT", 3)
    monkeypatch.setattr(module, "_PICTURE_S", 0.0)
    with fake_detector(tiny_bundle) as detector:
        recorder = Recorder.open(tmp_path / "new.edgead", "a" * 64, "b" * 64)
        for number in range(5):
            frame = Frame(tiny.good(), number, "x", 1_750_000_000.0 + number)
            line = detector.detect(frame)
            recorder.add(frame, line, dataclasses.replace(line, verdict=Verdict.NG), 2)
    kept = [path.name for path in disagreements(recorder.folder)]
    assert [name.split("_")[1] for name in kept] == ["000004", "000003", "000002"]
    assert recorder.summary.skipped == 10


def test_the_report(edgead, tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    shadow = strict(tmp_path)
    code, _, error = edgead("shadow", "report", shadow)
    assert code == 1
    assert "was no shadow yet" in error
    run(tiny_bundle, parts, shadow=str(shadow))
    code, out, _ = edgead("shadow", "report", shadow, "--page", "page.html")
    assert code == 0
    assert "agree on" in out
    assert "25.00% of 4" in out
    assert "line OK, shadow NG" in out
    page = (tmp_path / "page.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "line: OK" in page
    assert json.loads(edgead("shadow", "report", shadow, "--json")[1])["counts"]
    assert edgead("shadow", "report", shadow, "--page", "page.txt")[0] == 2
    with pytest.raises(DataError, match="was no shadow yet"):
        newest_record(tiny_bundle)


def test_the_interval_of_a_share() -> None:
    assert share_interval(0, 0) == (0.0, 1.0)
    low, high = share_interval(90, 100)  # Wilson's, as textbooks have it
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)
