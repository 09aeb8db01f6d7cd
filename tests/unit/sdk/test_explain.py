"""A recorded verdict is computed anew, step by step; another outcome, an altered frame or bundle ends with 4."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest
import tiny

from edgead import Pipeline, StationConfig
from edgead.bundle import Bundle
from edgead.errors import DataError, UsageError
from edgead.stream.explain import find_bundle, read_result


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """A station's folder: a bundle, four parts of which the last is bad, and what the line kept of them."""
    tiny.write_tiny(tmp_path / "tiny.edgead")
    (tmp_path / "parts").mkdir()
    for number in range(4):
        image = tiny.bad(number) if number == 3 else tiny.good(number)
        cv2.imwrite(str(tmp_path / f"parts/{number}.png"), image)
    return tmp_path


def judge(station: Path, **settings: object) -> list[Path]:
    """The events that the line keeps of the parts."""
    keep = {"sinks": [f"keep:{station}/saved?good=1", f"jsonl:{station}/results.jsonl"]}
    config = StationConfig(
        bundle=str(station / "tiny.edgead"), source=str(station / "parts"), engine="onnx", threads=1,
        **{**keep, **settings},
    )  # fmt: skip
    with Pipeline.from_config(config) as line:
        line.run()
    kept = [path.parent for path in (station / "saved").glob("*/*/result.json")]
    return sorted(kept, key=lambda path: int(path.name.split("_")[1]))


def alter(event: Path, **changes: object) -> None:
    told = json.loads((event / "result.json").read_text())
    (event / "result.json").write_text(json.dumps(told | changes))


def test_every_verdict_is_computed_anew(edgead, station: Path) -> None:
    painted = tiny.good()[:, :, 0] * 0
    painted[:, :32] = 255
    cv2.imwrite(str(station / "left.png"), painted)
    areas = {"judge": ["0,0,60,48"], "ignore": ["0,0,64,2", str(station / "left.png")]}
    for event in judge(station, review=0.5, threshold=1.1, min_area=20.0, **areas):
        code, out, error = edgead("explain", event, "--json")
        assert (code, error) == (0, "")
        told = json.loads(out)
        recorded = json.loads((event / "result.json").read_text())
        assert told["same"]
        assert (told["verdict"], told["score"]) == (recorded["verdict"], pytest.approx(recorded["score"]))
        names = [step["name"] for step in told["steps"]]
        assert names == ["frame", "bundle", "network", "thresholds", "map", "score of the map", "areas",
                         "smallest area", "calibrated score", "verdict"]  # fmt: skip
        assert told["notes"] == []


def test_it_is_shown_in_lines(edgead, station: Path) -> None:
    *_, bad = judge(station)
    code, out, _ = edgead("explain", bad / "result.json")
    assert code == 0
    assert f"bundle            tiny {Bundle.open(station / 'tiny.edgead').digest[:12]}" in out
    assert "NG (NG above 1)   recorded: NG" in out
    assert "version 1: image 0.6, center 0.2, as the build fitted them" in out


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"verdict": "OK", "judged": "OK"}, "verdict"),
        ({"score": 0.5}, "calibrated score"),
        ({"rules": {"threshold": 100.0}}, "verdict"),
        ({"model": "0" * 12}, "bundle"),
        ({"frame_size": [48, 65]}, "frame"),
    ],
)
def test_another_outcome_ends_with_4(edgead, station: Path, changes: dict[str, object], step: str) -> None:
    *_, bad = judge(station)
    alter(bad, **changes)
    code, out, error = edgead("explain", bad, "--bundle", station / "tiny.edgead")
    assert code == 4
    assert f"! {step}" in out
    assert f"another than the recorded one: {step}" in error


def test_an_altered_frame_ends_with_4(edgead, station: Path) -> None:
    *_, bad = judge(station)
    cv2.imwrite(str(bad / "frame.png"), tiny.good(3))
    assert edgead("explain", bad)[0] == 4


def test_a_bundle_that_was_in_force_before_is_found(edgead, station: Path) -> None:
    *_, bad = judge(station)
    versions = station / "tiny.edgead.versions"
    versions.mkdir()
    shutil.move(station / "tiny.edgead", versions / f"{Bundle.open(station / 'tiny.edgead').digest}.edgead")
    tiny.write_tiny(station / "other.edgead", provenance={"seed": 1})
    assert edgead("explain", bad)[0] == 0
    shutil.rmtree(versions)
    assert "name it with --bundle" in edgead("explain", bad)[2]


def test_a_frame_kept_as_jpeg_is_compared_by_its_verdict(edgead, station: Path) -> None:
    *_, bad = judge(station, sinks=[f"keep:{station}/saved?format=jpg"])
    code, out, _ = edgead("explain", bad)
    assert code == 0
    assert "kept as JPEG" in out


def test_a_late_verdict_is_compared_by_what_was_found(edgead, station: Path) -> None:
    good, *_ = judge(station)
    alter(good, verdict="LATE", judged="OK")
    code, out, _ = edgead("explain", good)
    assert (code, "recorded: OK, reported as LATE" in out) == (0, True)


def test_a_line_of_many(edgead, station: Path) -> None:
    judge(station)
    lines = station / "results.jsonl"
    assert "4 results: say which with --number" in edgead("explain", lines)[2]
    assert "name it with --frame" in edgead("explain", lines, "--number", 4)[2]
    assert edgead("explain", lines, "--number", 4, "--frame", station / "parts/3.png")[0] == 0
    assert edgead("explain", lines, "--number", 4, "--frame", station / "parts/2.png")[0] == 4


def test_what_cannot_be_explained_is_said(edgead, station: Path) -> None:
    *_, bad = judge(station)
    alter(bad, verdict="INVALID", reasons=["the frame is black"])
    code, _, error = edgead("explain", bad)
    assert (code, "camera's health (the frame is black)" in error) == (1, True)
    alter(bad, verdict="NG", rules={"thresholds": 1})
    assert edgead("explain", bad)[0] == 1
    with pytest.raises(DataError, match="holds no result"):
        read_result(station / "tiny.edgead")
    with pytest.raises(UsageError, match="is not in"):
        find_bundle("f" * 12, [station])


def test_a_painted_area_that_is_another_now_is_said(edgead, station: Path) -> None:
    painted = tiny.good()[:, :, 0] * 0 + 255
    cv2.imwrite(str(station / "area.png"), painted)
    *_, bad = judge(station, judge=[str(station / "area.png")])
    assert edgead("explain", bad)[0] == 0
    painted[:24] = 0
    cv2.imwrite(str(station / "area.png"), painted)
    assert "another than when the frame was judged" in edgead("explain", bad)[2]
