"""Goes once around the loop at a station with real images: saved frame, label, rebuild, shadow, promotion, rollback.

    python benchmarks/station_loop.py DATA... --out benchmarks/results/<machine>/station-loop.json

Each DATA is a data set in MVTec's layout with defects, of which so many are drawn. The first bundle learns from a few
good parts; the line keeps what it judges of others; a person (this program, which knows the truth) labels it by
keyboard in headless Chromium; the bundle is rebuilt with the labels, judges beside the line as its shadow, is promoted
by the page's button and taken back. Both bundles are compared once more on parts that neither has seen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import msgspec

from edgead import BuildConfig, Bundle, Detector, Pipeline, Result, StationConfig
from edgead.files import write_file
from edgead.images import read_image
from edgead.progress import ConsoleReporter
from edgead.review.archive import ReviewFolder
from edgead.stream.shadow.record import newest_record, read_summary
from edgead.system.device import describe_device, describe_state
from edgead.web.address import read_address
from edgead.web.auth import AuthMiddleware
from edgead.web.review_pages import review_app
from edgead.web.server import Server
from edgead_calibration.operating_point import Costs
from edgead_tools.data import Sample, open_dataset
from edgead_tools.pipeline.build import build
from edgead_tools.pipeline.rebuild import rates, rebuild

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
FIRST = 40  # good parts that the first bundle learns from
GOOD, DEFECTIVE = 200, 80  # others, at the most: half of them for the line, half for the last comparison
PATIENCE_S = 120.0
Parts = Sequence[Sample]


def divide(data: Path, seed: int) -> tuple[Parts, Parts, Parts]:
    """Good parts to begin with; parts of the line, good and defective; and others, for the last comparison."""
    dataset, order = open_dataset(data), random.Random(seed)
    good = [*dataset.train, *(one for one in dataset.test if one.is_good)]
    bad = [one for one in dataset.test if not one.is_good]
    order.shuffle(good)
    order.shuffle(bad)
    rest, bad = good[FIRST : FIRST + GOOD], bad[:DEFECTIVE]
    line = [*rest[: len(rest) // 2], *bad[: len(bad) // 2]]
    order.shuffle(line)
    return good[:FIRST], line, [*rest[len(rest) // 2 :], *bad[len(bad) // 2 :]]


def link(parts: Parts, folder: Path) -> Path:
    """The parts in a folder, under names that tell nothing of their labels."""
    folder.mkdir(parents=True)
    for number, one in enumerate(parts):
        (folder / f"{number:04d}{one.path.suffix}").symlink_to(one.path.resolve())
    return folder


def keep(bundle: Path, parts: Parts, folder: Path) -> None:
    """Judge the parts as a line does that keeps all of them in `saved`."""
    config = StationConfig(
        bundle=str(bundle), source=str(link(parts, folder / "line")), threads=1, health=False,
        sinks=(f"keep:{folder / 'saved'}?good=1",), audit=str(folder / "audit.jsonl"),
    )  # fmt: skip
    with Pipeline.from_config(config) as line:
        line.run()


def label(parts: Parts, folder: Path) -> dict[str, float]:
    """Label every kept part by keyboard; labels a minute, each waiting for its picture as a person does."""
    from browser import Browser

    saved, address = folder / "saved", read_address("0", "--at", "option")
    truth = {f"{number:04d}": one.is_good for number, one in enumerate(parts)}
    said = {path.parent.name: truth[Path(json.loads(path.read_bytes())["name"]).stem]
            for path in saved.glob("2*/*/result.json")}  # fmt: skip
    with ReviewFolder(saved, folder / "index.sqlite") as review, address.listen() as listening:
        server = Server(AuthMiddleware(review_app(review, ""), "", frozenset(), True), listening)
        browser = Browser(folder / "browser", (1280, 800))
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/review"
            ready = "document.querySelector('#picture').ariaBusy === 'false'"
            browser.open(url)
            browser.until(f"{ready} && document.querySelector('#image').naturalWidth > 0", PATIENCE_S)
            browser.evaluate("localStorage.setItem('person', 'ada')")
            browser.reload()
            browser.until(f"document.querySelector('#person')?.value === 'ada' && {ready}", PATIENCE_S)
            start, here = time.perf_counter(), ""
            shown = "(document.querySelector('#events [aria-current=true]')?.parentElement.dataset.id ?? '')"
            for count in range(1, len(said) + 1):  # the part before may be shown for a moment after its label is there
                there = f"{ready} && document.querySelector('#image').naturalWidth > 0"
                browser.until(f"{there} && !['', {here!r}].includes({shown})", PATIENCE_S)
                here = browser.evaluate(shown)
                browser.press("g" if said[here.rpartition("/")[2]] else "d")
                while review.facets()["people"].get("ada", 0) < count:
                    time.sleep(0.005)
            minutes = (time.perf_counter() - start) / 60
        finally:
            browser.close()
            server.close()
    return {"labels": len(said), "labels_a_minute": round(len(said) / minutes)}


def shadowed(bundle: Path, new: Path, parts: Parts, folder: Path) -> dict[str, Any]:
    """The new bundle beside the line on the last parts: how often both say the same."""
    config = StationConfig(
        bundle=str(bundle), shadow=str(new), source=str(link(parts, folder / "after")), threads=1, health=False,
        audit=str(folder / "audit.jsonl"),
    )  # fmt: skip
    with Pipeline.from_config(config) as line:
        line.run()
    summary = read_summary(newest_record(new))
    return {"judged": summary.judged, "agreed": summary.agreed, "left_out": summary.skipped}


@contextmanager
def camera(parts: Parts) -> Iterator[str]:
    """The address of a camera that answers each request with the next of the parts."""
    pictures = itertools.cycle([cv2.imencode(".jpg", read_image(one.path))[1].tobytes() for one in parts[:20]])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raw = next(pictures)
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Nothing to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/snapshot.jpg?poll=4"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def promoted_and_back(bundle: Path, new: Path, parts: Parts, folder: Path) -> dict[str, Any]:
    """Seconds from the page's button to the first verdict of the other bundle, for promotion and rollback."""
    from browser import Browser
    from programs import free_port, until

    found: list[Result] = []
    old, other = Bundle.open(bundle).digest[:12], Bundle.open(new).digest[:12]
    port, seconds = free_port(), {}
    with camera(parts) as source:
        (folder / "station.yaml").write_text(
            f"bundle: {bundle}\nshadow: {new}\nsource: '{source}'\naudit: {folder / 'audit.jsonl'}\nhealth: false\n"
            f"threads: 1\nsinks: ['web:{port}']\n"
        )
        with Pipeline.from_config(str(folder / "station.yaml"), on_result=found.append) as line:
            thread = threading.Thread(target=line.run)
            thread.start()
            browser = Browser(folder / "browser2", (1280, 800))
            try:
                browser.open(f"http://127.0.0.1:{port}")
                browser.until("document.querySelector('.camera img')?.naturalWidth > 0", PATIENCE_S)
                browser.evaluate("document.querySelector('#bundles').click()")
                for button, model in (("promote", other), ("rollback", old)):
                    browser.until(f"document.querySelector('#{button}').hidden === false", PATIENCE_S)
                    browser.evaluate(f"document.querySelector('#{button}').click()")
                    start = time.perf_counter()
                    browser.evaluate(f"document.querySelector('#{button}').click()")  # one press asks
                    until(lambda wanted=model: found[-1].model == wanted, PATIENCE_S)
                    seconds[f"{button}_s"] = round(time.perf_counter() - start, 2)
            finally:
                browser.close()
                line.stop()
                thread.join()
    assert Bundle.open(bundle).digest[:12] == old
    numbers = [one.index for one in found]
    return seconds | {"verdicts": len(found), "frames_missed": numbers[-1] - numbers[0] + 1 - len(numbers)}


def verdicts(bundle: Path, parts: Parts) -> dict[str, int]:
    """False alarms and defects found on parts that the bundle has not seen."""
    with Detector(Bundle.open(bundle), threads=1) as detector:
        refused = [(one.is_good, detector(read_image(one.path)).is_anomalous) for one in parts]
    return {
        "good": sum(good for good, _ in refused),
        "false_alarms": sum(ng for good, ng in refused if good),
        "defective": sum(not good for good, _ in refused),
        "found": sum(ng for good, ng in refused if not good),
    }


def measure(data: Path, settings: BuildConfig, folder: Path) -> dict[str, Any]:
    """Once around the loop with a data set, in an empty folder."""
    first, line, after = divide(data, settings.seed)
    bundle, new, reporter = folder / "part.edgead", folder / "new.edgead", ConsoleReporter()
    settings = msgspec.structs.replace(settings, data=str(link(first, folder / "good")), out=str(bundle), threads=1)
    start = time.perf_counter()
    build(settings, reporter)
    built = time.perf_counter()
    keep(bundle, line, folder)
    reviewed = label(line, folder)
    begun = time.perf_counter()
    rebuilt = rebuild(Bundle.open(bundle), folder / "saved", new, reporter, costs=Costs())
    ended = time.perf_counter()
    return {
        "first_good": len(first),
        "build_s": round(built - start),
        "review": reviewed,
        "rebuild_s": round(ended - begun),
        "rebuild": rates(rebuilt.compared),
        "another_verdict": sum(one.changed for one in rebuilt.compared),
        "map_weights": rebuilt.bundle.manifest.provenance.get("map_weights"),
        "unseen": {"old": verdicts(bundle, after), "new": verdicts(new, after)},
        "shadow": shadowed(bundle, new, after, folder),
        "station": promoted_and_back(bundle, new, after, folder),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--budget", default="0", help="of training; 0 trains nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sets: dict[str, Any] = {}
    settings = BuildConfig(method="stlm", budget=given.budget, seed=given.seed)
    for data in given.data:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # the browser may still write its own
            sets[data.resolve().name] = measure(data.resolve(), settings, Path(folder))
    told = {"sets": sets, "device": describe_device(), "state": describe_state()}
    text = json.dumps(told, indent=1) + "\n"
    if given.out is not None:
        write_file(given.out, text.encode())
    print(text, end="")


if __name__ == "__main__":
    main()
