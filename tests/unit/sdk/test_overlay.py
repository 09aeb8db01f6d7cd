"""Pictures of results: every verdict has its color, and a picture of any size shows the same."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import tiny

from edgead import Detector, Verdict
from edgead.overlay import tint


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_can_be_drawn(detector: Detector, verdict: Verdict) -> None:
    result = dataclasses.replace(detector(tiny.good()), verdict=verdict)
    drawn = result.overlay(tiny.good())
    corners = {other: tuple(dataclasses.replace(result, verdict=other).overlay(tiny.good())[0, 0]) for other in Verdict}
    assert tuple(drawn[0, 0]) == corners[verdict]
    assert len(set(corners.values())) == len(Verdict)


def test_a_tint_of_another_size_has_its_boxes_at_the_same_place(detector: Detector) -> None:
    image = tiny.bad()
    result = detector(image)
    assert result.regions
    large = tint(np.asarray(cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST), np.uint8), result)
    assert large.shape == (192, 256, 3)
    region = result.regions[0]
    boxed = tint(image, result)[region.y, region.x]
    assert np.array_equal(large[region.y * 4, region.x * 4], boxed)
