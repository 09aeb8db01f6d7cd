"""The loop at a station in a real browser: what is kept is reviewed, areas are drawn, a bundle is promoted and back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
from browser import Browser
from programs import free_port, until

from edgead import Bundle, Pipeline
from edgead.config.reading import read_yaml
from edgead.review.export import export

READY = "document.querySelector('#picture').ariaBusy === 'false'"
SHOWN = f"document.querySelector('#image').naturalWidth === 160 && {READY}"


@dataclass
class Station:
    """A line at work, in its folder."""

    folder: Path
    port: int
    digests: tuple[str, str]  # of its bundle, and of its shadow

    def models(self) -> list[str]:
        """The bundles that judged so far, the newest last."""
        lines = (self.folder / "results.jsonl").read_text().splitlines()
        return [json.loads(line)["model"] for line in lines if line.endswith("}")]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "browser")
    yield browser
    browser.close()


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    digests = [tiny.write_tiny(tmp_path / f"{name}.edgead", provenance={"seed": name}).digest for name in "ab"]
    port = free_port()
    (tmp_path / "station.yaml").write_text(
        "# a station\nbundle: a.edgead\nshadow: b.edgead\ncameras: {left: 'synthetic:160x120@10,defects=5'}\n"
        "audit: audit.jsonl\nhealth: false\nthreads: 1\nengine: onnx\nthreshold: 0.7\nsinks:\n"
        f"  - web:{port}?review=saved\n  - keep:saved?good=0.5\n  - jsonl:results.jsonl\n"
    )
    with Pipeline.from_config("station.yaml") as line:
        thread = threading.Thread(target=line.run)
        thread.start()
        yield Station(tmp_path, port, (digests[0][:12], digests[1][:12]))
        line.stop()
        thread.join()


def press(browser: Browser, button: str) -> None:
    browser.evaluate(f"document.querySelector('{button}').click()")


def test_the_loop(browser: Browser, station: Station) -> None:
    page = f"http://127.0.0.1:{station.port}"
    until(lambda: len(list(station.folder.glob("saved/2*/*/result.json"))) >= 4, 60)
    browser.open(f"{page}/review")
    browser.until(SHOWN, 60)
    browser.evaluate("localStorage.setItem('person', 'ada')")
    browser.reload()
    browser.until(f"document.querySelector('#person')?.value === 'ada' && {SHOWN}", 60)
    for count, key in enumerate("ggd", start=1):
        browser.until(READY, 30)
        browser.press(key)
        until(lambda wanted=count: len(list(station.folder.glob("saved/2*/*/label-ada.json"))) == wanted, 30)
    assert dict(export(station.folder / "saved", station.folder / "reviewed")) == {"good": 2, "defect": 1}

    browser.open(page)
    browser.until("document.querySelector('.camera img')?.naturalWidth === 160", 60)
    press(browser, "#areas")
    browser.until("document.querySelector('#area-image').naturalWidth === 160", 60)
    browser.until("document.querySelector('#area-svg').getAttribute('viewBox') === '0 0 160 120'")
    matrix = "document.querySelector('#area-svg').getScreenCTM()"
    corners = [f"new DOMPoint({x}, {y}).matrixTransform({matrix})" for x, y in ((0, 0), (159, 20))]
    browser.drag(*(tuple(browser.evaluate(f"(p => [p.x, p.y])({corner})")) for corner in corners))
    press(browser, "#area-save")
    browser.until("document.querySelector('#area-answer').textContent === 'in force, and saved'")
    (area,) = read_yaml(station.folder / "station.yaml")["ignore"]
    assert area.startswith("left=0,0,160,")
    assert (station.folder / "station.yaml").read_text().startswith("# a station\n")
    browser.until("document.querySelector('.camera svg.areas polygon.ignored') !== null", 60)
    browser.evaluate("document.querySelector('#area-dialog').close()")

    press(browser, "#bundles")
    for button, model in (("#promote", station.digests[1]), ("#rollback", station.digests[0])):
        browser.until(f"document.querySelector('{button}').hidden === false", 60)
        press(browser, button)
        assert station.models()[-1] != model  # one press asks
        press(browser, button)
        until(lambda wanted=model: station.models()[-1] == wanted, 60)
    assert Bundle.open(station.folder / "a.edgead").digest.startswith(station.digests[0])
    told = [json.loads(line) for line in (station.folder / "audit.jsonl").read_text().splitlines()]
    changes = [entry["what"] for entry in told if entry["who"] == "the page, 127.0.0.1"]
    assert changes == ["ignore", "promote", "bundle", "rollback", "bundle"]
    assert browser.complaints == []
