"""The network's input keeps the shape of images that are far from square."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.config import BuildConfig
from edgead.errors import UsageError
from edgead_tools.data.decoded import DecodedImages
from edgead_tools.data.input_size import check_square, choose_size
from edgead_tools.data.samples import Sample


def samples(folder: Path, *sizes: tuple[int, int]) -> list[Sample]:
    """Images of those (height, width)."""
    paths = [folder / f"{index}.png" for index in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))
    return [Sample(path, path.name) for path in paths]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((100, 100), (256, 256)),
        ((100, 150), (256, 256)),  # 3:2, as most cameras
        ((100, 160), (192, 320)),
        ((252, 100), (416, 160)),  # strips, 2.5 times as high as wide
        ((10, 400), (64, 1632)),
    ],
)
def test_about_as_many_pixels_in_the_images_shape(
    shape: tuple[int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    assert choose_size(None, (256,), samples(tmp_path, shape, shape), DecodedImages()) == size


@pytest.mark.parametrize(
    ("shape", "size"),
    [((255, 256), (256, 256)), ((256, 256), (320, 320)), ((1200, 1600), (320, 320)), ((900, 360), (512, 192))],
)
def test_the_larger_side_is_for_images_that_have_it(
    shape: tuple[int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    assert choose_size(None, (256, 320), samples(tmp_path, shape), DecodedImages()) == size
    assert choose_size((64, 64), (256, 320), samples(tmp_path, shape), DecodedImages()) == (64, 64)
    assert choose_size(None, (256, 0), samples(tmp_path, (400, 400)), DecodedImages()) == (256, 256)


def test_the_usual_shape_counts_and_what_cannot_be_read_does_not(tmp_path: Path) -> None:
    many = samples(tmp_path, (100, 250), (100, 250), (100, 100))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert choose_size(None, (256,), [*many, Sample(broken, "broken.png")], DecodedImages()) == (160, 416)
    assert choose_size(None, (256, 320), [Sample(broken, "broken.png")], DecodedImages()) == (256, 256)
    assert choose_size((64, 96), (256,), many, DecodedImages()) == (64, 96)


@pytest.mark.parametrize(
    ("size", "expected"), [("", None), (256, (256, 256)), ("384x160", (160, 384)), ((384, 160), (160, 384))]
)
def test_how_it_is_asked_for(size: int | str | tuple[int, int], expected: tuple[int, int] | None) -> None:
    assert BuildConfig(data="parts", size=size).input_size == expected


@pytest.mark.parametrize("size", ["big", "384x", "1x2x3", "384x100", (32, 64), 4096])
def test_what_is_no_size(size: int | str | tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="size must be"):
        BuildConfig(data="parts", size=size)


def test_published_models_take_squares() -> None:
    check_square((448, 448), "paper")
    check_square((160, 384), "edge")
    with pytest.raises(UsageError, match="square"):
        check_square((160, 384), "paper")
