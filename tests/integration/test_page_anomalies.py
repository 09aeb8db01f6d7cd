"""The live page in a real browser: anomalies large and labeled, cameras that have ended, its layout on any screen."""

from __future__ import annotations

import contextlib
import itertools
import json
import urllib.request
from pathlib import Path

import pytest
from browser import Browser, shown
from page_line import Both, Pipeline

from edgead import Detector
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.web import Web


def test_an_anomaly_has_its_name_and_is_downloaded(browser: Browser, page: Web, line: Pipeline) -> None:
    browser.open(f"http://127.0.0.1:{page.port}/")
    browser.until("document.querySelector('#anomalies button') !== null")
    browser.evaluate("document.querySelector('#anomalies button').click()")
    assert "part" in browser.evaluate(shown("#closer figcaption"))
    link = browser.evaluate("(({href, download}) => [href, download])(document.querySelector('#download'))")
    with urllib.request.urlopen(link[0], timeout=10) as answer:
        assert answer.read(2) == b"\xff\xd8"
    assert link[1].startswith("part_NG_")
    assert link[1].endswith(".jpg")
    assert browser.evaluate("document.querySelector('#label').hidden")  # nothing is kept that could be labeled
    assert "keep:events" in browser.evaluate(shown("#label-hint"))


def test_an_anomaly_that_is_kept_is_labeled(
    browser: Browser, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with contextlib.ExitStack() as stack:
        kept = open_sink(f"keep:{tmp_path}/events?free=1")
        page = open_sink(f"web:0?review={tmp_path}/events")
        both = stack.enter_context(contextlib.closing(Both(page, kept)))
        stack.enter_context(contextlib.closing(Pipeline(both, detector)))
        browser.open(f"http://127.0.0.1:{page.port}/")
        browser.until("document.querySelector('#anomalies button') !== null")
        browser.evaluate("document.querySelector('#anomalies button').click()")
        browser.evaluate("document.querySelector('#label-person').value = 'ada'")
        browser.evaluate("document.querySelector('#label button[value=defect]').click()")
        browser.until(f"{shown('#label-answer')} === 'noted as defect'")
    (label,) = (tmp_path / "events").rglob("label-ada.json")
    assert json.loads(label.read_text())["revisions"][-1]["label"] == "defect"


def test_a_camera_that_has_ended_is_not_green(browser: Browser, page: Web, line: Pipeline) -> None:
    browser.open(f"http://127.0.0.1:{page.port}/")
    browser.until("document.querySelector('.camera img').naturalWidth === 64")
    line.ended = True
    browser.until(f"{shown('#verdict .word')} === 'ENDED'")
    color = "getComputedStyle(document.querySelector('#health li'), '::before').backgroundColor"
    assert browser.evaluate(color) not in ("rgb(0, 158, 115)", "rgb(213, 94, 0)")  # neither well nor in trouble
    assert browser.evaluate("document.querySelector('.camera').dataset.verdict") == ""


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_nothing_lies_over_anything_else(browser: Browser, page: Web, line: Pipeline, size: tuple[int, int]) -> None:
    """Nor is a button gone on a phone."""
    browser.open(f"http://127.0.0.1:{page.port}/")
    browser.resize(*size)
    try:
        browser.until("document.querySelector('.camera img').naturalWidth === 64")
        boxes = browser.evaluate(
            "[...document.querySelectorAll('main > section, aside > section:not([hidden]), .tools > *:not([hidden])')]"
            ".map((one) => { const box = one.getBoundingClientRect();"
            " return [one.id || one.className, box.left, box.top, box.right, box.bottom]; })"
        )
        assert {"heatmap", "theme", "areas"} <= {name for name, *box in boxes if box[0] < box[2]}
        assert all(box[1] >= 0 and box[3] <= size[0] for box in boxes)
        for first, second in itertools.combinations(boxes, 2):
            across = min(first[3], second[3]) - max(first[1], second[1])
            down = min(first[4], second[4]) - max(first[2], second[2])
            assert across <= 1 or down <= 1, (first, second)
    finally:
        browser.resize(1920, 1080)
