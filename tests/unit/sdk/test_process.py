"""The command as a process of its own: exit codes, signals, pipes, and what it writes where."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import tiny

EDGEAD = [sys.executable, "-m", "edgead"]


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that takes far longer to judge than a test waits."""
    path = tmp_path_factory.mktemp("video") / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    image = tiny.good()
    for _ in range(6_000):
        writer.write(image)
    writer.release()
    return path


def edgead(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EDGEAD, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_closes_everything(
    tiny_bundle: Path, long_video: Path, tmp_path: Path, number: int, code: int
) -> None:
    results, video = tmp_path / "r.jsonl", tmp_path / "seen.mp4"
    command = [*EDGEAD, "run", "--bundle", tiny_bundle, "--source", long_video, "--jsonl", results, "--video", video]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 30
        while not (results.exists() and results.stat().st_size > 2000) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert err.startswith("edgead: ")
    assert err.count("\n") == 2  # what judges, and the summary
    judged = len([json.loads(line) for line in results.read_text().splitlines()])
    assert (
        f"{judged} frames" in err or f"{judged - 1} frames" in err
    )  # the signal may fall between writing and counting
    capture = cv2.VideoCapture(str(video))  # its index was written, so it can be opened
    assert capture.isOpened()
    capture.release()


def test_a_reader_that_leaves_is_no_trouble(tiny_bundle: Path, long_video: Path) -> None:
    command = [*EDGEAD, "run", "--bundle", tiny_bundle, "--source", long_video, "--json"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert json.loads(process.stdout.readline())["index"] == 0
        process.stdout.close()
        err = process.stderr.read().decode()
        assert process.wait(30) == 0
    assert "Traceback" not in err
    assert "Broken" not in err


def test_exit_codes_and_channels(tiny_bundle: Path, parts: Path) -> None:
    done = edgead("predict", tiny_bundle, parts, "--json", "--fail-on-anomaly")
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (10, 3, "")
    done = edgead("info", parts)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("edgead: ")
    assert edgead("predict", tiny_bundle).returncode == 2
    done = edgead("run", "--bundle", tiny_bundle, "--source", "rtsp://user:secret@127.0.0.1:1/a")
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1  # OpenCV and FFMPEG are kept quiet
    assert "secret" not in done.stderr


def test_broken_images_are_warned_about_once_each(tiny_bundle: Path, parts: Path) -> None:
    (parts / "part_3.png").write_bytes(b"")
    done = edgead("run", "--bundle", tiny_bundle, "--source", parts)
    assert done.returncode == 0
    _, warning, summary = done.stderr.splitlines()
    assert warning.startswith(f"edgead: {parts}/part_3.png is empty")
    assert summary.endswith("1 NG, 1 unreadable")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_does_not_stop_the_line(tiny_bundle: Path, parts: Path) -> None:
    done = edgead("run", "--bundle", tiny_bundle, "--source", parts, "--jsonl", "/dev/full")
    assert done.returncode == 1
    assert done.stderr.count("No space left on device") == 1
    assert "3 frames" in done.stderr
    assert "1 NG, 3 not written\n" in done.stderr
    assert "3 results could not be written" in done.stderr
    with Path("/dev/full").open("w") as full:
        command = [*EDGEAD, "predict", str(tiny_bundle), str(parts), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert "3 results could not be written" in done.stderr


def test_help_is_quick_and_light() -> None:
    program = (
        "import sys\nfrom edgead.cli import main\ntry:\n    main(['--help'])\nfinally:\n"
        "    print([n for n in ('torch', 'onnx', 'onnxruntime', 'scipy') if n in sys.modules], file=sys.stderr)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert time.monotonic() - start < 5  # 0.4 s alone on a core; this one is shared


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is POSIX")
def test_a_person_sees_a_status_line(tiny_bundle: Path, parts: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    command = [*EDGEAD, "run", "--bundle", str(tiny_bundle), "--source", str(parts)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower) as process:
        assert process.wait(30) == 0
    os.close(follower)
    text = os.read(leader, 10_000).decode()
    os.close(leader)
    assert "\r\x1b[KOK 0." in text
    assert text.count("\n") == 2
    assert "edgead: 3 frames" in text


@pytest.mark.parametrize("lost", ["terminal", "none"])
def test_a_lost_terminal_ends_nothing(tiny_bundle: Path, long_video: Path, tmp_path: Path, lost: str) -> None:
    """The status line goes to a terminal that is closed in mid-run (EIO); or there was no standard error at all."""
    results = tmp_path / "r.jsonl"
    command = [*EDGEAD, "run", "--bundle", tiny_bundle, "--source", long_video, "--jsonl", results, "--limit", "3000"]
    ours, theirs = pty.openpty()
    close = None if lost == "terminal" else (lambda: os.close(2))
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=theirs, preexec_fn=close) as line:
        os.close(theirs)
        deadline = time.monotonic() + 60
        while not (results.exists() and results.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.close(ours)
        assert line.wait(120) == 0
    assert len(results.read_text().splitlines()) == 3000
