"""The main job end to end on generated parts: from a folder of good images to a verdict on the next one."""

from __future__ import annotations

import html
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead import Bundle, Detector
from edgead.config import BuildConfig
from edgead.errors import DataError, UsageError
from edgead.images import read_file
from edgead.progress import Reporter
from edgead.verify import verify
from edgead_tools.data import open_dataset
from edgead_tools.evaluation.entries import means, measure
from edgead_tools.evaluation.evaluate import evaluate
from edgead_tools.evaluation.report import write_report
from edgead_tools.export.program import load_program, output_names
from edgead_tools.pipeline.build import build
from edgead_tools.pipeline.build_page import STRANGEST

STEPS = 30  # the log of the first stage is written at step 20


def washer(rng: np.random.Generator, defect: bool = False) -> np.ndarray:
    """A gray ring on a dark ground, slightly moved and noisy; a defective one has a bright scratch."""
    image = np.full((120, 160, 3), 40, np.uint8)
    center = (80 + int(rng.integers(-3, 4)), 60 + int(rng.integers(-3, 4)))
    cv2.circle(image, center, 40, (150, 155, 160), 14)
    if defect:
        start = (center[0] - 45, center[1] + int(rng.integers(-20, 20)))
        cv2.line(image, start, (start[0] + 70, start[1] + 8), (235, 240, 250), 5)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("washers")
    rng = np.random.default_rng(0)
    for part, count in (("train/good", 40), ("test/good", 8), ("test/scratch", 8)):
        (root / part).mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(root / part / f"{index:03d}.png"), washer(rng, part.endswith("scratch")))
    return root


def config(data: Path, out: Path, **changes: object) -> BuildConfig:
    values = {"data": str(data), "out": str(out), "steps": STEPS, "size": 128} | changes
    return BuildConfig(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reads() -> Counter[Path]:
    """How often each image file was read by the build of `built`."""
    return Counter()


@pytest.fixture(scope="module")
def built(data: Path, reads: Counter[Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    def counted(path: Path) -> bytes:
        reads[Path(path)] += 1
        return read_file(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgead.images.read_file", counted)
        patch.setattr(sys.modules["edgead_tools.data.check"], "read_file", counted)
        return build(config(data, tmp_path_factory.mktemp("built") / "washer.edgead"), Reporter()).bundle


def test_images_are_read_once_but_for_those_that_frames_are_made_of(
    built: Bundle, data: Path, reads: Counter[Path]
) -> None:
    held_out = built.manifest.provenance["data"]["held_out"]
    often = [path for path in (data / "train/good").iterdir() if reads[path] != 1]
    assert held_out < 40 / 5  # golden frames, and those that defects are planted in
    assert len(often) <= held_out + STRANGEST  # those that the page shows
    assert max(reads.values()) <= 4


def test_the_page_has_what_the_images_say_of_the_part_and_of_the_camera(built: Bundle) -> None:
    assert built.path is not None
    page = built.path.with_suffix(".html").read_text()
    training = built.manifest.provenance["training"]
    assert training["images"]["frame"] == [120, 160]
    assert "detail" in training["findings"][-1]["found"]
    for row in training["findings"]:
        assert all(html.escape(cell) in page for cell in row.values())


def test_the_bundle_finds_the_planted_defect(built: Bundle, data: Path) -> None:
    with Detector(built) as detector:
        figures = evaluate(detector, open_dataset(data))
    assert figures.image_auroc is not None
    assert figures.image_auroc > 0.95


def test_the_bundle_verifies_and_says_where_it_comes_from(built: Bundle) -> None:
    assert built.path is not None
    again = Bundle.open(built.path)
    with Detector(again) as detector:
        checks = verify(again, detector)
    assert checks
    assert all(check.passed for check in checks)
    assert again.manifest.health is not None
    assert again.manifest.health.images == 40
    provenance = again.manifest.provenance
    assert provenance["config"]["steps"] == STEPS
    assert provenance["training"]["steps"] == STEPS
    assert provenance["data"]["train"] + provenance["data"]["calibration"] + provenance["data"]["held_out"] == 40
    assert {"torch", "onnx", "numpy"} <= provenance["versions"].keys()
    assert provenance["licenses"]["efficientnet-lite0"].startswith("Apache-2.0")
    assert provenance["export"]["max_error"] <= 1e-4
    assert provenance["measured"]["image_auroc"] > 0.95


def test_nothing_but_the_bundle_is_left(built: Bundle) -> None:
    assert built.path is not None
    assert sorted(path.name for path in built.path.parent.iterdir()) == ["washer.edgead", "washer.html"]


def test_a_program_is_kept_where_one_is_asked_for(data: Path, tmp_path: Path, tiny_method: str) -> None:
    path = tmp_path / "kept/washer.pt2"
    made = build(config(data, tmp_path / "washer.edgead", method=tiny_method, program=str(path)), Reporter()).bundle
    assert output_names(load_program(path, made)) == sorted(made.manifest.provenance["export"]["outputs"])


def test_the_seed_decides_the_network_and_the_thresholds(data: Path, tmp_path: Path, tiny_method: str) -> None:
    """Of the method that is shipped too: `test_an_interrupted_build_continues_to_the_same_bundle`."""
    first, again, other = (
        build(config(data, tmp_path / f"{name}.edgead", method=tiny_method, seed=seed), Reporter()).bundle
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert again.members() == first.members()
    assert again.manifest.artifacts == first.manifest.artifacts
    assert other.members() != first.members()


def test_an_interrupted_build_continues_to_the_same_bundle(built: Bundle, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped.edgead"
    command = [sys.executable, "-m", "edgead", "build", "--data", str(data), "--out", str(out)]
    command += ["--steps", str(STEPS), "--size", "128"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = out.with_name("stopped.edgead.run") / "denoising.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "the same command continues the build" in stderr
    assert not out.exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout.strip() == str(out)
    again = Bundle.open(out)
    assert again.members() == built.members()
    assert again.manifest.artifacts == built.manifest.artifacts


def test_an_unfinished_build_with_other_settings_is_not_mixed_up(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "mixed.edgead"
    run = out.with_name("mixed.edgead.run")
    run.mkdir()
    (run / "settings.json").write_text('{"seed": 7}')
    (run / "denoising.pt").write_bytes(b"a training")
    with pytest.raises(UsageError, match=r"unfinished build with other settings.*--fresh"):
        build(config(data, out), Reporter())
    assert (run / "settings.json").read_text() == '{"seed": 7}'
    assert (run / "denoising.pt").exists()


def test_too_few_images_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    cv2.imwrite(str(folder / "only.png"), washer(np.random.default_rng(0)))
    with pytest.raises(DataError, match=r"1 .*image.* at least \d+"):
        build(config(folder, tmp_path / "few.edgead"), Reporter())
    assert not (tmp_path / "few.edgead").exists()


def test_the_report_is_one_page_that_asks_the_network_for_nothing(built: Bundle, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert built.path is not None
    subjects = measure([built.path], data, Reporter(), galleries=True)
    figures = subjects[0].evaluation
    write_report(page, subjects, averages=means(subjects), title="Washers <1>", notes=["a & b"])
    text = page.read_text()
    assert "Washers &lt;1&gt;" in text
    assert "a &amp; b" in text
    assert f"{figures.image_auroc:.3f}" in text
    assert text.count("data:image/jpeg;base64,") >= 8
    assert "http" not in text.replace("http-equiv", "")


def test_a_labeled_image_that_cannot_be_read_is_left_out_of_the_figures(
    data: Path, tmp_path: Path, tiny_method: str
) -> None:
    copy = tmp_path / "50% é"
    shutil.copytree(data, copy)
    (copy / "test/good/000.png").write_bytes(b"broken")
    said: list[str] = []

    class Heard(Reporter):
        def say(self, text: str) -> None:
            said.append(text)

    bundle = build(config(copy, tmp_path / "a b" / "new.edgead", method=tiny_method), Heard()).bundle
    measured = bundle.manifest.provenance["measured"]
    assert (measured["good"], measured["defective"], measured["left_out"]) == (7, 8, 1)
    assert any(text.startswith("left out ") and "000.png" in text for text in said)
