"""What is judged, as a bundle with components sees it: where parts lie in good images, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import component_tray
import numpy as np
import pytest

from edgead.errors import DataError, UsageError
from edgead_tools.pipeline.component_mask import SEEN, foreground_from_components, open_segmentation


def test_it_is_white_where_a_component_may_lie_and_a_cell_around() -> None:
    frames = [component_tray.frame(component_tray.labels(bolt=rows)) for rows in (4, 8)]
    mask = foreground_from_components(component_tray.bundle(), frames)
    expected = np.zeros((component_tray.SIDE, component_tray.SIDE), np.uint8)
    expected[1:11, 1:11] = 255  # the longer bolt, with a cell around it
    expected[19:29, 19:29] = 255
    np.testing.assert_array_equal(mask, expected)


def test_what_hardly_ever_lies_somewhere_does_not_count() -> None:
    usual = component_tray.frame(component_tray.labels(nut=0))
    rare = component_tray.frame(component_tray.labels())
    mask = foreground_from_components(component_tray.bundle(), [*[usual] * round(1 / SEEN), rare])
    assert mask[4, 4] == 255
    assert mask[24, 24] == 0


def test_no_component_anywhere_is_no_mask() -> None:
    with pytest.raises(DataError, match="paint a mask instead"):
        foreground_from_components(component_tray.bundle(), [component_tray.frame(component_tray.labels(0, 0))] * 3)


def test_a_bundle_without_components_says_so(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"knows no components.*--method csad"):
        open_segmentation(tiny_bundle)
    component_tray.write(tmp_path / "tray.edgead")
    assert open_segmentation(tmp_path / "tray.edgead").manifest.fusion.components is not None
