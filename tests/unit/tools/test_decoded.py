"""Images of a build are decoded once, as far as memory allows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

import edgead.images
import edgead_tools.data.decoded
from edgead.config import BuildConfig
from edgead.errors import DataError
from edgead.progress import Reporter
from edgead_tools.data import DecodedImages, Sample
from edgead_tools.pipeline.build import build

GOOD = 24


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was decoded, by its name; the test's own writing is not counted."""
    counted: Counter[str] = Counter()
    real = edgead.images.decode

    def counting(raw: bytes, path: Path) -> NDArray[Any]:
        counted[Path(path).name] += 1
        return real(raw, path)

    for module in (edgead.images, edgead_tools.data.decoded):
        monkeypatch.setattr(module, "decode", counting)
    return counted


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A data set of good images and one of a scratch."""
    for folder, count, draw in (("train/good", GOOD, tiny.good), ("test/scratch", 1, tiny.bad)):
        (tmp_path / "parts" / folder).mkdir(parents=True)
        for index in range(count):
            name = f"{folder.partition('/')[2]}{index:02d}.png"
            cv2.imwrite(str(tmp_path / "parts" / folder / name), draw(index))
    return tmp_path / "parts"


@pytest.mark.usefixtures("one_thread", "tiny_method")
@pytest.mark.parametrize("recipe", ["", pytest.param("cpu", marks=pytest.mark.slow)])
def test_a_build_decodes_each_good_image_once(parts: Path, tmp_path: Path, decodes: Counter[str], recipe: str) -> None:
    config = BuildConfig(data=str(parts), method="tiny", out=str(tmp_path / "part.edgead"), steps=1, recipe=recipe)
    built = build(config, Reporter())
    assert built.page is not None
    assert built.bundle.manifest.detection is not None
    assert {name: count for name, count in decodes.items() if name.startswith("good")} == {
        f"good{index:02d}.png": 1 for index in range(GOOD)
    }


def test_what_does_not_fit_into_the_limit_is_decoded_again(tmp_path: Path, decodes: Counter[str]) -> None:
    samples = [Sample(tmp_path / f"{name}.png", name) for name in "ab"]
    for sample in samples:
        cv2.imwrite(str(sample.path), np.full((10, 10, 3), 7, np.uint8))
    images = DecodedImages(limit=450)
    first = [images.frame(sample) for sample in samples]
    assert all(np.array_equal(images.frame(sample), one) for sample, one in zip(samples, first, strict=True))
    assert decodes == {"a.png": 1, "b.png": 2}
    with pytest.raises(ValueError, match="read-only"):
        first[0][:] = 0


def test_an_image_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.png"):
        DecodedImages().frame(Sample(tmp_path / "a.png", "a"))
