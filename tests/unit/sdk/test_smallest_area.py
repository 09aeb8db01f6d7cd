"""The smallest area that counts, in pixels or in square millimeters by the scale of the frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from edgead.config import StationConfig
from edgead.errors import UsageError
from edgead.stream.assembly import open_detector, smallest_area


@pytest.mark.parametrize(
    ("settings", "scale", "pixels"),
    [
        ({"min_area": 12.0}, 0.0, 12.0),
        ({"min_area_mm2": 2.0}, 0.1, 200.0),
        ({"min_area_mm2": 2.0, "mm_per_pixel": 0.2}, 0.1, 50.0),
        ({}, 0.1, 0.0),
    ],
)
def test_square_millimeters_become_pixels(settings: dict[str, float], scale: float, pixels: float) -> None:
    assert smallest_area(StationConfig(**settings), scale) == pytest.approx(pixels)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(UsageError, match="needs the scale"):
        smallest_area(StationConfig(min_area_mm2=2.0), 0.0)
    with pytest.raises(UsageError, match="not both"):
        smallest_area(StationConfig(min_area_mm2=2.0, min_area=3.0), 0.1)


def test_the_bundle_knows_the_scale(tmp_path: Path) -> None:
    path = tmp_path / "tiny.edgead"
    tiny.write_tiny(path, mm_per_pixel=0.5)
    with open_detector(StationConfig(bundle=str(path), min_area_mm2=3.0)) as detector:
        assert detector.rules.min_area == pytest.approx(12.0)
