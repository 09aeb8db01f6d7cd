"""Measures the review page on a folder of 100,000 events: its index, its searches, the page, and labels by keyboard.

    python benchmarks/review.py --events 100000 --line BUNDLE --out benchmarks/results/<machine>/review.json

With `--line` the page is also opened on a line that judges a synthetic camera with that bundle, in the same process as
a station has it, and the line's verdicts are timed with the page and without. Events are written as the sink `keep:`
writes them, each a folder of its own, over 60 days and 3 cameras; one of a hundred is labeled by one person, one of a
thousand by two. The page is opened in headless Chromium where it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead import Pipeline, Result, StationConfig
from edgead.review.archive import ReviewFolder
from edgead.review.index import EventIndex
from edgead.review.labels import Label, add_label
from edgead.review.search import Query, facets, search
from edgead.stream.sources.synthetic import Scene
from edgead.system.device import describe_device, describe_state
from edgead.web.address import read_address
from edgead.web.auth import AuthMiddleware
from edgead.web.review_pages import review_app
from edgead.web.server import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
FIRST = 1_790_000_000.0  # seconds since the epoch
DAYS = 60
QUERIES = {
    "newest": {},
    "not labeled by me": {"labeled": "mine-open", "person": "ada"},
    "one camera, NG": {"camera": "camera-1", "verdict": "NG"},
    "a day": {"since": FIRST + 86400 * 20, "until": FIRST + 86400 * 21},
    "scores from 0.9 to 1.1, nearest first": {"low": 0.9, "high": 1.1, "order": "nearest"},
    "highest scores": {"order": "highest"},
    "disagreements": {"labeled": "disagree"},
    "defects of a kind": {"kind": "scratch"},
    "part of a name": {"text": "012345"},
    "the last page of all": {"offset": 99_900},
}


def write_events(folder: Path, count: int) -> None:
    """The events; pictures are hard links to sixty frames of a synthetic camera."""
    source = random.Random(1)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    scene = Scene(defects=2)
    for number in range(60):
        cv2.imwrite(str(pictures / f"{number}.png"), scene.picture(number))
        cv2.imwrite(str(pictures / f"{number}.jpg"), scene.picture(number))
    for number in range(count):
        at = FIRST + DAYS * 86400 * number / count
        date, score = datetime.fromtimestamp(at, timezone.utc), source.lognormvariate(0, 0.5)
        verdict = "NG" if score > 1 else "OK"
        name = f"{date:%Y%m%dT%H%M%S.%f}_{number:06d}_camera-{number % 3}_{verdict}"
        event = folder / f"{date:%Y-%m-%d}" / name
        event.mkdir(parents=True)
        told = {"verdict": verdict, "score": score, "camera": f"camera-{number % 3}", "time": at, "index": number,
                "kept_for": f"verdict {verdict}", "frame_size": [480, 640], "regions": [], "reasons": [],
                "model": "0" * 12, "engine": "onnx", "precision": "fp32"}  # fmt: skip
        (event / "result.json").write_text(json.dumps(told))
        os.link(pictures / f"{number % 60}.png", event / "frame.png")
        os.link(pictures / f"{number % 60}.jpg", event / "heatmap.jpg")
        if number % 100 == 0:
            add_label(event, "ada", Label(label="defect", kind="scratch") if number % 200 else Label(label="good"))
        if number % 1000 == 0:
            add_label(event, "bob", Label(label="defect"))


def timed(act: Callable[[], Any], times: int) -> dict[str, float]:
    """Milliseconds of `act`: the median and the longest of `times`."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        took.append(1e3 * (time.perf_counter() - start))
    return {"median_ms": round(statistics.median(took), 2), "longest_ms": round(max(took), 2)}


def measure_index(folder: Path, file: Path, count: int) -> dict[str, Any]:
    with EventIndex(folder, file) as index:
        start = time.perf_counter()
        index.refresh()
        figures: dict[str, Any] = {"index_built_s": round(time.perf_counter() - start, 2)}
        assert search(index, Query()).total == count
        figures["looked_for_new_events"] = timed(lambda: index.refresh(labels=False), 5)
        figures["looked_for_new_labels"] = timed(index.refresh, 5)
        figures["searches"] = {
            name: timed(lambda q=asked: search(index, Query(**q)), 20) for name, asked in QUERIES.items()
        }
        figures["counts of all filters"] = timed(lambda: facets(index), 20)
    figures["index_bytes"] = file.stat().st_size
    return figures


def open_page(browser: Any, url: str, times: int) -> dict[str, float]:
    """Milliseconds from asking for the page to its first picture; the first time fills the browser's cache."""
    seen = "document.querySelector('#image').naturalWidth > 0 && document.querySelector('#about b') !== null"
    browser.open(url)
    browser.until(seen)
    browser.evaluate("localStorage.setItem('person', 'eve')")
    opened = []
    for _ in range(times):
        browser.open("about:blank")
        start = time.perf_counter()
        browser.open(url)
        browser.until(seen)
        opened.append(1e3 * (time.perf_counter() - start))
    return {"median_ms": round(statistics.median(opened), 1), "longest_ms": round(max(opened), 1)}


def measure_beside_line(bundle: Path, folder: Path, times: int = 21) -> dict[str, Any]:
    """The page of a line at work, and the line's verdicts with the page and without, in milliseconds."""
    from browser import Browser

    found: list[Result] = []
    with read_address("0", "--at", "option").listen() as listening:
        port = listening.getsockname()[1]
    config = StationConfig(
        bundle=str(bundle), source="synthetic:640x480@8,defects=10", threads=1, health=False,
        sinks=(f"web:{port}?review={folder}",), audit=str(folder.parent / "audit.jsonl"),
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as profile, Pipeline.from_config(config, on_result=found.append) as line:
        thread = threading.Thread(target=line.run)
        thread.start()
        browser = Browser(Path(profile), (1280, 800))
        try:
            while json.load(urllib.request.urlopen(f"{url}/api/review/events"))["reading"] is not None:
                time.sleep(0.2)
            quiet = len(found)
            time.sleep(20)
            begun = len(found)
            page = open_page(browser, f"{url}/review", times)
            ended = len(found)
        finally:
            browser.close()
            line.stop()
            thread.join()
    latencies = {"without_ms": found[quiet:begun], "with_ms": found[begun:ended]}
    return {"page_opens": page} | {
        name: {f"p{at}": round(float(np.percentile([one.age for one in results], at)), 1) for at in (50, 95, 99)}
        | {"frames": len(results)}
        for name, results in latencies.items()
    }  # fmt: skip


def measure_page(folder: Path, file: Path, labels: int) -> dict[str, Any]:
    """The page from asking for it to the first picture, and labels by keyboard as fast as the page takes them."""
    from browser import Browser

    address = read_address("0", "--at", "option")
    with ReviewFolder(folder, file) as review, address.listen() as listening, tempfile.TemporaryDirectory() as profile:
        server = Server(AuthMiddleware(review_app(review, ""), "", frozenset(), True), listening)
        browser = Browser(Path(profile), (1280, 800))
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/review"
            page = open_page(browser, url, 7)
            start = time.perf_counter()
            for number in range(labels):
                place = "document.querySelector('#events [aria-current=true]').parentElement.dataset.id"
                here = browser.evaluate(place)
                browser.press("gdu"[number % 3])
                browser.until(f"{place} !== {here!r} && document.querySelector('#picture').ariaBusy === 'false'")
            while review.facets()["people"].get("eve", 0) < labels:
                time.sleep(0.01)
            minutes = (time.perf_counter() - start) / 60
        finally:
            browser.close()
            server.close()
    return {"page_opens": page, "labels_a_minute": round(labels / minutes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--line", type=Path, metavar="BUNDLE", help="also open the page of a line that judges with it")
    parser.add_argument("--folder", type=Path, help="where the events are written, or lie already")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "saved"
        if not folder.exists():
            write_events(folder, given.events)
        file = Path(temporary) / "index.sqlite"
        figures = {"events": given.events, **measure_index(folder, file, given.events)}
        figures |= measure_page(folder, file, given.labels)
        if given.line is not None:
            os.environ["EDGEAD_CACHE"] = str(Path(temporary) / "cache")
            figures["beside_a_line"] = measure_beside_line(given.line, folder)
        figures |= {"device": describe_device(), "state": describe_state()}
        text = json.dumps(figures, indent=1) + "\n"
        if given.out is not None:
            given.out.write_text(text)  # before so many files are deleted, which takes minutes
        print(text, end="")


if __name__ == "__main__":
    main()
