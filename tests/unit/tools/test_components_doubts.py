"""What the page of components says of classes that look wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgead_tools.components.classes import ComponentLabels
from edgead_tools.components.page import doubts, write_page


def found(areas: list[list[int]], levels: list[int]) -> tuple[NDArray[np.uint8], ComponentLabels]:
    """Images in which each class covers so many rows, at a gray level of its own."""
    labels = {}
    images = np.full((len(areas), 40, 20, 3), 60, np.uint8)
    for index, rows in enumerate(areas):
        one = np.zeros((40, 20), np.uint8)
        for number, count in enumerate(rows, start=1):
            start = 20 * (number - 1)
            one[start : start + count] = number
            images[index, start : start + count] = levels[number - 1]
        labels[index] = one
    names = ("background", *(f"component {number}" for number in range(1, len(levels) + 1)))
    return images, ComponentLabels(names, labels, ())


def test_a_steady_class_raises_no_doubt_and_a_reflection_does(tmp_path) -> None:
    images, labels = found([[8, 4], [8, 14], [8, 2], [8, 0]], [120, 255])
    assert doubts(1, images, labels) == []
    said = doubts(2, images, labels)
    assert said[0] == "it is in 3 of 4 images only"
    assert said[1].startswith("its area varies by ")
    assert said[2] == "most of it is white, as a reflection is"
    write_page(tmp_path / "page.html", "Kits", images, labels)
    text = (tmp_path / "page.html").read_text()
    assert "component 2 may be no component:" in text
    assert "component 1 may be no component:" not in text
