"""A drawn foreground: read, compared with the frames, shrunk as they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.errors import DataError
from edgead.ops import resize
from edgead_tools.data.foreground import read_foreground, shrink_foreground


def drawn(path: Path, height: int = 120, width: int = 160) -> Path:
    mask = np.zeros((height, width, 3), np.uint8)
    mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
    cv2.imwrite(str(path), mask)
    return path


def test_a_mask_is_read_in_its_own_size_whatever_its_channels(tmp_path: Path) -> None:
    mask = read_foreground(drawn(tmp_path / "mask.png"), (1200, 1600))
    assert (mask.shape, mask.dtype) == ((120, 160), np.uint8)
    assert mask.mean() == 255 / 4
    cv2.imwrite(str(tmp_path / "gray.png"), mask)
    assert np.array_equal(read_foreground(tmp_path / "gray.png", (120, 160)), mask)


@pytest.mark.parametrize(("gray", "kept"), [(255, 255), (200, 255), (128, 255), (127, 0)])
def test_a_mask_selects_and_does_not_weigh(tmp_path: Path, gray: int, kept: int) -> None:
    mask = np.full((120, 160), gray, np.uint8)
    mask[:60] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    found = read_foreground(tmp_path / "mask.png", (120, 160))
    assert set(found[:60].ravel()) == {255}
    assert set(found[60:].ravel()) == {kept}


@pytest.mark.parametrize("size", [(120, 160), (121, 160), (60, 80), (480, 641)])
def test_a_mask_may_be_off_by_a_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    read_foreground(drawn(tmp_path / "mask.png"), size)


@pytest.mark.parametrize(
    ("size", "image", "says"),
    [
        ((160, 120), np.full((120, 160), 255, np.uint8), "160x120 pixels and the images have 120x160: draw it on one"),
        ((120, 160), np.zeros((120, 160), np.uint8), "all black, so nothing would be judged"),
        ((120, 160), None, "there is no image at"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused(
    tmp_path: Path, size: tuple[int, int], image: np.ndarray | None, says: str
) -> None:
    if image is not None:
        cv2.imwrite(str(tmp_path / "mask.png"), image)
    with pytest.raises(DataError, match=says):
        read_foreground(tmp_path / "mask.png", size)


def test_a_mask_is_shrunk_as_the_frames_are(tmp_path: Path) -> None:
    mask = read_foreground(drawn(tmp_path / "mask.png"), (120, 160))
    cells = shrink_foreground(mask, 16, 16)
    assert (cells.shape, cells.dtype) == ((16, 16), np.uint8)
    assert np.array_equal(cells, resize(np.repeat(mask[:, :, None], 3, 2), 16, 16)[:, :, 0])
    assert cells[8, 8] == 255
    assert cells[0].max() == cells[:, 0].max() == 0
    assert cells.mean() == pytest.approx(255 / 4, rel=0.15)


def test_a_speck_that_no_cell_shows_is_refused() -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[100, 100] = 255
    with pytest.raises(DataError, match="smaller than a cell"):
        shrink_foreground(mask, 8, 8)
