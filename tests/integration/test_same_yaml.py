"""The same YAML gives the same results by the command line and by a short script."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
import tiny
import yaml

from edgead import Bundle

SCRIPT = Path(__file__).parents[2] / "examples/station.py"
MEASURED = ("time", "age_ms", "timings_ms")  # of the moment, not of the part

pytestmark = pytest.mark.usefixtures("one_thread")


def script(monkeypatch: pytest.MonkeyPatch, *files: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *files])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def results(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in MEASURED} for line in lines]


def test_the_script_is_short() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 20


def test_a_station(edgead, tiny_bundle: Path, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    station = {
        "bundle": str(tiny_bundle),
        "cameras": {"left": str(parts), "right": "synthetic:64x48,frames=4,defects=2"},
        "judge": ["left=0,0,60,48"],
        "ignore": ["0,0,64,2"],
        "review": 0.5,
        "min-area": 4,
        "vote": 2,
        "health": False,
        "threads": 1,
        "sinks": ["jsonl:results.jsonl"],
    }
    Path("station.yaml").write_text(yaml.safe_dump(station))
    assert edgead("run", "--station", "station.yaml")[0] == 0
    by_command = results(Path("results.jsonl"))
    Path("results.jsonl").unlink()
    script(monkeypatch, "station.yaml")
    by_script = results(Path("results.jsonl"))
    assert len(by_command) == 4
    for camera in ("left", "right"):  # what is left to chance is which camera is first, and so the numbers of the run
        one, other = (
            [{**line, "number": 0} for line in lines if line["camera"] == camera] for lines in (by_command, by_script)
        )
        assert one == other


def test_a_build(edgead, tmp_path: Path, tiny_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good").mkdir()
    for number in range(24):
        cv2.imwrite(f"good/{number}.png", tiny.good(number))
    settings = {"data": "good", "method": tiny_method, "steps": 3, "seed": 5, "threads": 1, "false_alarm_rate": 0.05}
    Path("edgead.yaml").write_text(yaml.safe_dump({**settings, "out": "command.edgead"}))
    Path("again.yaml").write_text(yaml.safe_dump({**settings, "out": "script.edgead"}))
    Path("station.yaml").write_text("bundle: script.edgead\nsource: good\njsonl: results.jsonl\n")
    code, out, err = edgead("build")
    assert (code, out.strip()) == (0, "command.edgead"), err
    script(monkeypatch, "again.yaml", "station.yaml")
    by_command, by_script = Bundle.open("command.edgead"), Bundle.open("script.edgead")
    assert by_command.members() == by_script.members()
    assert by_command.manifest.artifacts == by_script.manifest.artifacts
    assert by_script.manifest.artifacts[0].thresholds.false_alarm_rate == 0.05
    assert len(results(Path("results.jsonl"))) == 24
