"""What a person is told: where a part is NG, why frames are INVALID, and whether the light may be the cause."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny

from edgead import Bundle, Detector, ops
from edgead.bundle.store import write_bundle
from edgead.cli.commands import COMMANDS
from edgead.cli.console_status import sink_words
from edgead.config import StationConfig
from edgead.errors import DataError
from edgead.stream.sinks import open_sink, title_of
from edgead_calibration.health import fit_health

Output = tuple[int, str, str]
Command = Callable[..., Output]


@pytest.fixture
def lit(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with the health profile of twenty good parts in a steady light."""
    import msgspec

    opened = Bundle.open(tiny_bundle)
    good = [np.clip(tiny.good(seed).astype(int) + 60, 0, 255).astype(np.uint8) for seed in range(20)]
    manifest = msgspec.structs.replace(opened.manifest, health=fit_health(good))
    write_bundle(tmp_path / "lit.edgead", manifest, opened.members())
    return tmp_path / "lit.edgead"


def save(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


def test_another_light_is_named_as_the_cause_of_ng(edgead: Command, lit: Path, tmp_path: Path) -> None:
    bright = [np.clip(tiny.good(seed).astype(int) + 125, 0, 255).astype(np.uint8) for seed in range(4)]
    folder = save(tmp_path / "bright", bright)
    words = "the picture is brighter than good parts were (mean gray level"
    code, out, said = edgead("run", "--bundle", lit, "--source", folder, "--json")
    assert code == 0
    assert out.count('"verdict": "NG"') == out.count(words) == 4
    assert f"4 NG: {words}" in said
    assert f"4 NG: {words}" in edgead("predict", lit, folder)[2]
    steady = [np.clip(tiny.good(seed).astype(int) + 60, 0, 255).astype(np.uint8) for seed in range(30, 34)]
    assert "the light may be" not in edgead("predict", lit, save(tmp_path / "steady", steady))[2]


def test_run_says_what_judges_where_results_go_and_why_frames_are_invalid(
    edgead: Command, lit: Path, tmp_path: Path
) -> None:
    small = save(tmp_path / "small", [tiny.good(seed)[:24, :32].copy() for seed in range(3)])
    code, _, said = edgead(
        "run", "--bundle", lit, "--source", small, "--jsonl", tmp_path / "r.jsonl", "--engine", "onnx"
    )
    assert code == 0
    assert "tiny" in said
    assert "on onnx fp32; 1 source; results go to " in said
    assert "r.jsonl" in said
    assert "3 INVALID: the picture has 32 x 24 pixels, good parts had 64 x 48" in said
    one = save(tmp_path / "one", [tiny.good(1)])
    assert "edgead: 1 frame in" in edgead("run", "--bundle", lit, "--source", one, "--no-health")[2]


def test_ng_always_shows_where(detector: Detector) -> None:
    cells = np.zeros((8, 8), np.float32)
    cells[2:4, 5:7] = 0.9
    (region,) = ops.strongest_region(cells, (80, 80))
    assert (region.x, region.y, region.width, region.height) == (50, 20, 20, 20)
    assert region.score == pytest.approx(0.9)
    assert ops.strongest_region(np.full((8, 8), 3.0, np.float32), (80, 80)) == ()
    assert detector(tiny.bad()).regions
    assert detector(tiny.good()).regions == ()


def test_the_library_takes_files_and_results_carry_their_image(detector: Detector, parts: Path, tmp_path: Path) -> None:
    path = parts / "part_10.png"
    image = cv2.imread(str(path))
    result = detector(path)
    assert result.is_anomalous
    assert np.array_equal(result.image, image)
    assert np.array_equal(result.plot(), result.overlay(image))
    assert repr(result).startswith("<NG ")
    assert str(path) in repr(result)
    result.save(tmp_path / "out" / "seen.png")
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "seen.png")), result.plot())
    assert result._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(DataError, match=r"cannot be written as '\.xyz'"):
        result.save(tmp_path / "a.xyz")
    for streamed in detector.stream(parts):
        assert np.array_equal(streamed.image, cv2.imread(streamed.name))


def test_pictures_of_pil_are_taken(detector: Detector) -> None:
    class Picture:
        """As PIL.Image.Image has it: converted to RGB, and an array."""

        def convert(self, mode: str) -> Picture:
            assert mode == "RGB"
            return self

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return np.ascontiguousarray(tiny.bad()[:, :, ::-1])

    assert detector(Picture()).raw_score == detector(tiny.bad()).raw_score
    assert [one.verdict for one in detector.predict([Picture(), tiny.good()])] == [
        detector(tiny.bad()).verdict,
        detector(tiny.good()).verdict,
    ]


def test_info_and_verify_take_the_newest_bundle_and_info_is_a_card(
    edgead: Command, lit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "has no .edgead file" in edgead("info")[2] or lit.exists()
    made = {"edgead": "0.1.0", "created": "2026-11-28T03:00:00", "config": {"seed": 7}, "data": {
        "train": 30, "calibration": 4, "held_out": 5, "parts": 39, "left_out": [{}]},
        "training": {"steps": 19, "seconds": 794.0}, "licenses": {"lite0": "Apache-2.0"},
        "measured": {"image_auroc": 0.5, "miss_rate": 0.25, "good": 6, "defective": 8}}  # fmt: skip
    tiny.write_tiny(tmp_path / "newest.edgead", provenance=made)
    code, out, _ = edgead("info")
    assert (code, out.splitlines()[0].split()[0]) == (0, "tiny")
    assert "newest.edgead" in out
    for words in ("edgead 0.1.0, 2026-11-28, seed 7", "30 images to train, 4 to calibrate, 5 kept aside, 39 different",
                  "1 left out", "19 steps in 794 s", "image AUROC 0.500, misses 25.0% on 6 good"):  # fmt: skip
        assert words in out, words
    assert len(out.splitlines()) < 20
    assert "made from   config.seed: 7" in edgead("info", "--all")[1]
    assert edgead("verify", "--engine", "onnx")[0] == 0


def test_jsonl_may_be_standard_output_and_colors_may_be_off(
    edgead: Command, tiny_bundle: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, said = edgead("run", "--bundle", tiny_bundle, "--source", parts, "--jsonl", "-")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "results go to standard output (JSON)" in said
    assert not (tmp_path / "-").exists()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in edgead("predict", tiny_bundle, parts)[1]


def test_a_reader_that_has_seen_enough_is_no_error(tiny_bundle: Path, parts: Path) -> None:
    for index in range(200):
        cv2.imwrite(str(parts / f"more_{index}.png"), tiny.good(index))
    command = f"{sys.executable} -m edgead info {tiny_bundle} --all | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_is_grouped_with_a_line_for_each_command(edgead: Command) -> None:
    code, out, _ = edgead("-h")
    assert code == 0
    lines = out.splitlines()
    groups = [lines.index(title) for title in ("Build a bundle:", "Judge:", "Look:", "Prepare for a device:")]
    assert groups == sorted(groups)
    for name in COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1, name
    assert "\n".join(lines[groups[1] :]).index("  run ") < out.index("  info ")
    assert edgead("info", "-h")[0] == 0


def test_quiet_says_nothing_but_results_and_errors(edgead: Command, tiny_bundle: Path, parts: Path) -> None:
    code, out, said = edgead("-q", "run", "--bundle", tiny_bundle, "--source", parts, "--json")
    assert (code, len(out.splitlines()), said) == (0, 3, "")
    code, _, said = edgead("-q", "info", "none.edgead")
    assert (code, said.count("\n")) == (1, 1)
    assert "edgead: 3 frames" in edgead("run", "--bundle", tiny_bundle, "--source", parts)[2]


def test_a_folder_that_is_gone_is_said(tmp_path: Path, tiny_bundle: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", f'cd "{gone}" && rmdir "{gone}" && "{sys.executable}" -m edgead info'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "edgead: the folder in which this was started is gone: change to one that is there\n"


def test_a_page_is_said_as_a_browser_takes_it() -> None:
    sinks = ["web:8080?review=saved", "web:10.0.0.5:80", "web:0", "keep:saved?quota=1GB"]
    said = sink_words(StationConfig(sinks=sinks))
    assert said == ["the page http://127.0.0.1:8080", "the page http://10.0.0.5:80", "web:0", "keep:saved"]
    assert sink_words(StationConfig(sinks=["web:0.0.0.0:8080"])) == [f"the page http://{socket.gethostname()}:8080"]


def test_a_sink_is_called_as_it_was_written(tmp_path: Path) -> None:
    with open_sink(f"keep:{tmp_path}?free=1") as kept:
        assert title_of(kept) == "keep"
