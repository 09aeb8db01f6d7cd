"""A station in one file, its cameras, and how its line is told to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import yaml
from programs import until

from edgead.cli import cameras
from edgead.errors import SourceError

ROOT = Path(__file__).parents[3]


def test_a_station_of_two_cameras(edgead, tiny_bundle: Path, tmp_path: Path) -> None:
    station = {
        "bundle": str(tiny_bundle),
        "cameras": {"left": "synthetic:64x48,frames=4,defects=2", "right": "synthetic:80x64,frames=3"},
        "sinks": ["jsonl:deep/results.jsonl"],
        "judge": ["0,0,640,480"],
        "min-area": 3,
        "review": 0.5,
        "health": False,
    }
    (tmp_path / "station.yaml").write_text(yaml.safe_dump(station))
    code, out, err = edgead("run", "--station", "station.yaml", "--json")
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert {name: [one["index"] for one in lines if one["camera"] == name] for name in ("left", "right")} == {
        "left": [0, 1, 2, 3],
        "right": [0, 1, 2],
    }
    assert (tmp_path / "deep/results.jsonl").read_text() == out
    assert "7 frames" in err
    assert (
        len(edgead("run", "--station", "station.yaml", "--json", "--source", "synthetic:frames=2")[1].splitlines()) == 2
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("camera: 0\ncamreas: {a: b}", "did you mean 'cameras'?"),
        ("cameras: [a, b]", "Expected `object`, got `array` - at `$.cameras`; cameras are lines like"),
        ("cameras: {left: 0}", "Expected `str`, got `int`"),
        ("sinks: jsonl", "Expected `array`"),
        (
            "cameras: {a: '0'}\nsource: parts",
            "s.yaml cannot be used: give one of source, cameras and camera, not source and cameras",
        ),
        ("station: other.yaml", "unknown key 'station'"),
        ("policy: newest", "'policy' in s.yaml cannot be used: it must be latest or every, not 'newest'"),
        ("limit: 2\nlimit: 3", "the key 'limit' is there twice (line 2)"),
        ("min-area: 2\nmin_area: 3", "has 'min_area' and another key for the same"),
        ("sinks: []\nsink: jsonl", "has 'sink' and another key for the same"),
        ("vote: part", "it must be a number of frames or 'name', not 'part'"),
        ("review: 2", "it must be a number above 0 and below 1, not '2'"),
        ("sinks: ['mongo:x']", "no "),
        ("cameras: {left: parts, right: parts}\nignore: ['lefd=0,0,9,9']", "did you mean 'left'?"),
        ("source: parts\njudge: ['1,2,3']", "'1,2,3' is no area"),
        ("password: 'secret\n", "line"),
    ],
)
def test_a_wrong_station_is_wrong_usage(edgead, tiny_bundle: Path, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    source = [] if "source" in text or "cameras" in text else ["--source", "synthetic:frames=1"]
    code, _, err = edgead("run", "--bundle", tiny_bundle, "--station", "s.yaml", *source)
    assert code == 2
    assert sentence in err
    assert "secret" not in err


def test_the_example_station_can_be_read(edgead, tiny_bundle: Path, tmp_path: Path) -> None:
    code, _, err = edgead(
        "run", "--station", ROOT / "examples/station.yaml", "--bundle", tiny_bundle, "--limit", "4", "--no-health"
    )
    assert (code, "4 frames" in err) == (0, True), err
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 4
    unit = (ROOT / "examples/edgead.service").read_text()
    assert all(f"{key}=" in unit for key in ("WatchdogSec", "Restart", "ExecStart", "SuccessExitStatus"))
    assert "Type=notify" in unit


def test_verdicts_are_asked_for_on_the_command_line(edgead, tiny_bundle: Path, parts: Path) -> None:
    def verdicts(*options: object) -> list[str]:
        code, out, err = edgead("run", "--bundle", tiny_bundle, "--source", parts, "--json", *options)
        assert code == 0, err
        return [json.loads(line)["verdict"] for line in out.splitlines()]

    assert verdicts() == ["OK", "OK", "NG"]
    assert verdicts("--threshold", "5") == ["OK", "OK", "OK"]
    assert verdicts("--threshold", "5", "--review", "0.2") == ["OK", "OK", "REVIEW"]
    assert verdicts("--min-area", "2000") == ["OK", "OK", "OK"]
    assert verdicts("--vote", "3") == ["NG"]
    assert verdicts("--vote", "3", "--vote-rule", "majority") == ["OK"]
    assert verdicts("--vote", "name") == ["NG"]
    for wrong in (["--vote", "0"], ["--vote", "part"], ["--review", "2"], ["--threshold", "0"]):
        assert edgead("run", "--bundle", tiny_bundle, "--source", parts, *wrong)[0] == 2
    assert edgead("run", "--bundle", tiny_bundle, "--source", "synthetic:64x48@9", "--vote", "name")[0] == 2


def test_cameras_lists_what_is_there(edgead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (name, index) in enumerate([("Front", "0"), ("Front", "1"), ("Side", "0")]):
        device = tmp_path / "v4l" / f"video{number}"
        device.mkdir(parents=True)
        (device / "name").write_text(name + "\n")
        (device / "index").write_text(index + "\n")

    class Opened:
        def get(self, key: int) -> float:
            return {3: 640.0, 4: 480.0, 5: 30.0}[key]

        def release(self) -> None:
            pass

    def opener(number: int) -> Opened:
        if number:
            raise SourceError("camera:2 cannot be opened: it is busy")
        return Opened()

    monkeypatch.setattr(cameras, "open_capture", opener)
    found = [(one.source, one.name, one.usable, one.detail) for one in cameras.video_devices(tmp_path / "v4l")]
    assert found == [("0", "Front", True, "640 x 480 at 30 a second"), ("2", "Side", False, "it is busy")]
    assert [one.usable for one in cameras.video_devices(tmp_path)] == [False]
    monkeypatch.setattr("shutil.which", lambda name: None)
    code, out, _ = edgead("cameras", "--json")
    assert code == 0
    assert {"gst:PIPELINE", "csi://0"} <= {json.loads(line)["source"] for line in out.splitlines()}
    assert "apt install gstreamer1.0-tools" in edgead("cameras")[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_under_load_ends_the_line_in_order(tmp_path: Path, number: int, code: int) -> None:
    """Two live cameras and three sinks; systemd listens. Every judged frame is written, and nothing is left."""
    tiny.write_tiny(tmp_path / "tiny.edgead")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        sources = ["--source", "a=synthetic:64x48@200", "--source", "b=synthetic:64x48@100,seed=1"]
        sinks = ["--jsonl", "r.jsonl", "--save", "seen", "--video", "v.mp4"]
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}
        with subprocess.Popen(
            [sys.executable, "-m", "edgead", "run", *sources, *sinks, "--threads", "1"],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            heard = [systemd.recv(1000), systemd.recv(1000)]
            results, end = tmp_path / "r.jsonl", time.monotonic() + 60
            while results.read_bytes().count(b"\n") < 20:
                assert time.monotonic() < end
                time.sleep(0.02)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        while heard[-1] != b"STOPPING=1":
            heard.append(systemd.recv(1000))
    assert [words.partition(b"\n")[0] for words in heard[:2]] == [b"READY=1", b"WATCHDOG=1"]
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert f"edgead: {len(lines)} frames in " in err.splitlines()[-1], err
    assert process.returncode == code
    assert len(list((tmp_path / "seen").iterdir())) == len(lines)
    for name in "ab":
        indices = [one["index"] for one in lines if one["camera"] == name]
        assert indices == sorted(set(indices))
    assert all(one["age_ms"] > 0 for one in lines)


def test_hangup_has_the_line_go_on_with_the_new_bundle(tmp_path: Path) -> None:
    tiny.write_tiny(tmp_path / "tiny.edgead")
    results = tmp_path / "r.jsonl"

    def models() -> list[str]:
        return [json.loads(line)["model"] for line in results.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "edgead",
            "run",
            "--source",
            "synthetic:64x48@100",
            "--policy",
            "every",
            "--jsonl",
            "r.jsonl",
        ],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: results.exists() and len(models()) > 5, 60)
        (tmp_path / "tiny.edgead").write_bytes(b"PK")
        process.send_signal(signal.SIGHUP)
        seen = len(models())
        until(lambda: len(models()) > seen + 20)
        tiny.write_tiny(tmp_path / "tiny.edgead", name="next")
        process.send_signal(signal.SIGHUP)
        until(lambda: len(set(models())) == 2)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "the bundle is not changed" in err
    assert "parts are judged with next" in err
    assert [json.loads(line)["index"] for line in results.read_text().splitlines()] == list(range(len(models())))
