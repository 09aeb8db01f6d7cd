"""The report in a real browser: everything is shown, nothing is asked of the network, nothing sticks out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from browser import Browser

from edgead.progress import Reporter
from edgead_tools.evaluation.entries import means, measure
from edgead_tools.evaluation.report import write_report


@pytest.fixture
def drawn(tmp_path: Path, tiny_bundle: Path) -> tuple[list[Path], Path]:
    """Two bundles and a data set of good and spotted parts, one of which is hardly seen, with masks."""
    root = tmp_path / "data"
    for folder in ("train/good", "test/good", "test/<spot> & co", "ground_truth/<spot> & co"):
        (root / folder).mkdir(parents=True)
    mask = np.zeros((48, 64), np.uint8)
    mask[24:36, 32:48] = 255
    for index in range(10):
        cv2.imwrite(str(root / f"train/good/{index}.png"), tiny.good(index))
        cv2.imwrite(str(root / f"test/good/{index}.png"), tiny.good(50 + index) + np.uint8(200 * (index == 3)))
        image = tiny.bad(index) if index else tiny.good()
        cv2.imwrite(str(root / f"test/<spot> & co/{index}.png"), image)
        cv2.imwrite(str(root / f"ground_truth/<spot> & co/{index}_mask.png"), mask)
    bundles = [tmp_path / "first.edgead", tmp_path / "second.edgead"]
    for path in bundles:
        path.write_bytes(tiny_bundle.read_bytes())
    return bundles, root


@pytest.mark.parametrize("count", [1, 2])
def test_the_page_shows_everything_and_asks_for_nothing(
    tmp_path: Path, drawn: tuple[list[Path], Path], count: int
) -> None:
    bundles, root = drawn
    subjects = measure(bundles[:count], root, Reporter(), galleries=True)
    page = tmp_path / "report.html"
    write_report(page, subjects, averages=means(subjects), title="Spots <b>", notes=["a & b"])
    browser = Browser(tmp_path / "browser", (1000, 900))
    try:
        browser.open(page.as_uri())
        browser.until("document.readyState == 'complete'")
        browser.evaluate("Promise.all([...document.images].map(image => image.decode()))")
        text = browser.evaluate("document.body.innerText")
        titles = ["Scores", "Kinds of defect", "Provenance", "Notes", "Defects that were missed", "False alarms"]
        assert all(title in text for title in titles)
        assert "<spot> & co" in text
        assert "Spots <b>" in text
        assert f"{subjects[0].evaluation.image_auroc:.3f}" in text
        assert "F1-max" in text
        assert "NG from a score of" in text or count > 1
        ticks = "[...document.querySelectorAll('svg text')].map(one => one.textContent)"
        assert {"0%", "50%", "100%", "0", "1", "defects found"} <= set(browser.evaluate(ticks))
        assert f"All {len(subjects[0].evaluation.judged)} images by score" in text
        assert "of the pixel threshold" in text  # a missed defect has its map on a scale of its own
        widths = "[...document.querySelectorAll('figure')].map(one => one.getBoundingClientRect().width)"
        assert set(browser.evaluate(widths)) == {354}  # several beside each other
        browser.evaluate("document.querySelector('figure img').click()")
        assert browser.evaluate("document.querySelector('figure img').getBoundingClientRect().width") == 1000
        browser.evaluate("document.querySelector('figure img').click()")
        pictures = sum(len(row.images) for one in subjects for row in one.galleries)
        assert browser.evaluate("document.images.length") == pictures > 10
        curves = "document.querySelectorAll('svg[aria-label=ROC] polyline').length"
        assert browser.evaluate(curves) == count
        assert browser.evaluate("document.documentElement.scrollWidth") <= 1000
        browser.resize(390, 844)  # a telephone: plots stand below each other, and nothing is cut
        plots = "[...document.querySelectorAll('.plots > div')].map(one => one.getBoundingClientRect().width)"
        assert min(browser.evaluate(plots)) > 300
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        assert [url for url in browser.urls if not url.startswith("data:")] == [page.as_uri()]
        assert browser.complaints == []
    finally:
        browser.close()
