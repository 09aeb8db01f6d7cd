"""Every change of what a station does is in the audit log: when, who, from what, to what, and for how long."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from lines import QUICK, Memory, Scripted, background, paced
from programs import until

from edgead import Detector
from edgead.errors import UsageError
from edgead.stream.audit import AuditLog
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline


def entries(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_changes_of_a_running_line_are_noted(tiny_bundle: Path, tmp_path: Path) -> None:
    changed, log = tmp_path / "next.edgead", tmp_path / "deep/audit.jsonl"
    tiny.write_tiny(changed, name="next")
    sink = Memory()
    with Detector(tiny_bundle, threads=1) as detector, AuditLog(log, "press 3") as audit:
        old = detector.model
        line = Pipeline([Camera("", Scripted(paced(300)))], detector, [sink], QUICK, audit=audit)
        thread = background(line)
        line.set_threshold(1.4, "the page, 10.0.0.7")
        with pytest.raises(UsageError):
            line.set_threshold(-1.0, "the page, 10.0.0.7")
        line.replace_bundle(changed, "SIGHUP")
        until(lambda: line.status().model == "next")
        new = line.status().digest
        line.stop()
        thread.join(30)
    first, second = entries(log)
    when = datetime.fromisoformat(first["when"])
    assert abs((datetime.now(timezone.utc) - when).total_seconds()) < 60
    assert {**first, "when": ""} == {
        "when": "",
        "station": "press 3",
        "who": "the page, 10.0.0.7",
        "what": "threshold",
        "old": 1.0,
        "new": 1.4,
        "persisted": False,
    }
    assert (second["what"], second["old"], second["new"]) == ("bundle", old, new)
    assert (second["who"], second["persisted"]) == ("SIGHUP", True)


def test_a_start_notes_what_is_other_than_it_was(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    areas = ["left=0,0,10,10"]
    with AuditLog(path, "a") as audit:
        audit.begin({"threshold": 1.0, "judge": areas})
        audit.changed("threshold", 1.0, 1.2, "the page", persisted=False)
    with AuditLog(path, "b") as audit:  # another station in the same file
        audit.begin({"threshold": 1.0})
    path.write_bytes(path.read_bytes() + b'{"station": "a", "wh')  # a power cut
    with AuditLog(path, "a") as audit:
        audit.begin({"threshold": 1.0, "judge": areas})
        audit.begin({"threshold": 1.0, "judge": []})
    seen = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    told = [(one["station"], one["what"], one["old"], one["new"]) for one in seen]
    assert told == [
        ("a", "threshold", None, 1.0),
        ("a", "judge", None, areas),
        ("a", "threshold", 1.0, 1.2),
        ("b", "threshold", None, 1.0),
        ("a", "threshold", 1.2, 1.0),  # what the page had set is over
        ("a", "judge", areas, []),
    ]
    assert all(one["who"].startswith("start by ") for one in seen if one["persisted"])


def test_a_log_that_cannot_be_written_is_said_and_stops_nothing(
    quick: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    audit = AuditLog(tmp_path / "file/audit.jsonl", "a")
    line = Pipeline([Camera("", Scripted(paced(300)))], quick, [], QUICK, audit=audit)
    line.set_threshold(1.5, "the page")
    assert line.status().threshold == 1.5
    assert "threshold changed from 1.0 to 1.5 by the page, for this run only" in caplog.text
    assert '"new": 1.5' in caplog.text.partition("cannot be written")[2]


def test_starting_a_station_anew_notes_what_was_changed_meanwhile(
    edgead: Callable[..., tuple[int, str, str]], tiny_bundle: Path, tmp_path: Path
) -> None:
    log, mask = tmp_path / "audit.jsonl", tmp_path / "mask.png"
    start = ("run", "--bundle", tiny_bundle, "--source", "a=synthetic:64x48@200", "--limit", 3, "--audit", log)
    for level in (255, 0):  # the same area, painted another way
        cv2.imwrite(str(mask), cv2.rectangle(np.full((48, 64), 255, np.uint8), (0, 0), (9, 9), level, -1))
        assert edgead(*start, "--judge", mask)[0] == 0
    assert edgead(*start, "--threshold", 1.5)[0] == 0
    first = len({one["what"] for one in entries(log)})
    told = [(one["what"], one["new"]) for one in entries(log)[first:]]
    assert [what for what, _ in told] == ["judge", "threshold", "judge"]
    assert told[0][1][0].startswith(f"{mask} (")
    assert told[1:] == [("threshold", 1.5), ("judge", [])]


def test_live_lines_are_audited_unless_told_and_files_are_not(
    edgead: Callable[..., tuple[int, str, str]], tiny_bundle: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(parts.parent / "state"))
    log = parts.parent / "state/edgead/audit.jsonl"
    edgead("run", "--bundle", tiny_bundle, "--source", parts)
    assert not log.exists()
    edgead("run", "--bundle", tiny_bundle, "--source", "synthetic:64x48@200", "--limit", 3)
    assert entries(log)[0]["what"] == "bundle"
