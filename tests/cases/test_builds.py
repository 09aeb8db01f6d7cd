"""Builds from folders as people have them: what cannot succeed is said before training, what can does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from painted import save, texture

from edgead import Bundle
from edgead.bundle.detection import Detection, DetectionCurve
from edgead.config import BuildConfig
from edgead.errors import DataError
from edgead.progress import Reporter
from edgead_tools.data.decoded import DecodedImages
from edgead_tools.pipeline.build import build
from edgead_tools.pipeline.build_page import BuildSummary, limits
from edgead_tools.pipeline.runs import check_space

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_method")


class Lines(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def make(folder: Path, out: Path, **changes: object) -> tuple[Bundle, str]:
    values = {"method": "tiny", "data": str(folder), "out": str(out), "steps": 2, "threads": 1} | changes
    lines = Lines()
    return build(BuildConfig(**values), lines).bundle, "\n".join(lines.said)  # type: ignore[arg-type]


def test_eight_images_are_enough_and_names_may_be_any_bytes(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"teile \xfc")
    for index in range(8):
        save(folder / f"{index}.png", texture(index, 96, 96))
    shutil.copy(folder / "2.png", folder / os.fsdecode(b"caf\xe9.png"))
    bundle, said = make(folder, tmp_path / "out" / os.fsdecode(b"teil\xe9.edgead"))
    assert "4 images to train, 1 to calibrate, 3 kept aside" in said
    data = bundle.manifest.provenance["data"]
    assert data["left_out"] == [{"name": "caf\\udce9.png", "reason": "is a duplicate: it has the same pixels as 2.png"}]
    assert bundle.manifest.provenance["training"]["threads"] == 1  # which the network depends on
    assert "caf\\udce9.png" in (tmp_path / "out" / os.fsdecode(b"teil\xe9.html")).read_text()
    assert bundle.manifest.name == "teil\\udce9"


def test_too_few_images_are_counted_before_training(tmp_path: Path) -> None:
    for index in range(7):
        save(tmp_path / "few" / f"{index}.png", texture(index, 96, 96))
    with pytest.raises(DataError, match="there are 7 good images to learn from and at least 8 are needed"):
        make(tmp_path / "few", tmp_path / "a.edgead")


def test_frames_of_a_still_part_are_said_and_give_a_bundle(tmp_path: Path) -> None:
    still, random = texture(1, 128, 128).astype(int), np.random.default_rng(1)
    for index in range(20):
        frame = np.clip(still + random.integers(-1, 2, still.shape), 0, 255).astype(np.uint8)
        save(tmp_path / "still" / f"{index}.png", frame)
    bundle, said = make(tmp_path / "still", tmp_path / "a.edgead", steps=6)
    assert "20 images show 1 different part: they hardly differ" in said
    assert bundle.manifest.provenance["data"]["parts"] == 1
    page = (tmp_path / "a.html").read_text()
    for words in ("Scores of the good images", "Strangest good images", "data:image/jpeg", "What limits this bundle",
                  "show 1 different part", "Nothing was left out", "<code>edgead run --bundle", "as a new part",
                  "use <code>edgead eval</code>"):  # fmt: skip
        assert words in page, words
    assert "limit: 20 images show 1 different part" in said
    assert f"page: {tmp_path / 'a.html'}" in said


def test_a_disk_without_room_is_found_out_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=8 << 20))
    with pytest.raises(DataError, match=r"needs about 68 MB beside its bundle and the disk of .* has 8 MB free"):
        check_space(tmp_path, 1_000_000)


def test_what_limits_a_bundle_is_said(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    short = msgspec.structs.replace(bundle.manifest, provenance={"training": {"steps": 19, "seconds": 794.0}})
    frame = DecodedImages().frame
    few = BuildSummary(
        Bundle(short, bundle.members(), "", None), [], range(40), False, (), (1800, 2400), True, None, frame
    )
    said = "\n".join(limits(few))
    assert "training took 19 steps in 794 s" in said
    assert "images of 2400 x 1800 are shrunk 75-fold to 32 x 32: defects below about 225 pixels are lost" in said
    assert "40 good images can promise no false-alarm rate below 2.4%" in said
    assert "without defective images" in said
    curve = DetectionCurve(
        kind="all", planted=30, found=7, a90=None, a90_95=None, sizes=(), probability=(), low=(), high=()
    )
    poor = msgspec.structs.replace(short, detection=Detection(frame=(48, 64), planted=(), curves=(curve,)))
    blind = BuildSummary(
        Bundle(poor, bundle.members(), "", None), [], range(40), False, (), (48, 64), True, None, frame
    )
    assert "only 7 of 30 planted defects are found" in "\n".join(limits(blind))
    assert "planted defects are found" not in said
    long = msgspec.structs.replace(bundle.manifest, provenance={"training": {"steps": 900, "seconds": 300.0}})
    enough = BuildSummary(
        Bundle(long, bundle.members(), "", None), [], range(40), False, (), (48, 64), True, None, frame
    )
    assert not {"training took", "are shrunk"} & {line[:13] for line in limits(enough)}
