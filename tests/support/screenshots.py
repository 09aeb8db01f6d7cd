"""Takes screenshots of every page, at two widths, light and dark, and says what sticks out of a window.

    python tests/support/screenshots.py FOLDER [PAGE.html ...]

The pages are made in FOLDER/work by the commands that make them, of parts that `examples/make_parts.py` draws; what is
there already is taken as it is. Pages that are named are photographed too. Pictures are FOLDER/NAME-WIDTH-THEME.png.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from browser import Browser
from programs import free_port, until

from edgead.review.labels import Label, add_label

ROOT = Path(__file__).parents[2]
SIZES = ((1280, 800), (390, 844))
THEMES = ("light", "dark")
TALLEST = 4000  # pixels of a page that are shown
STICKING = """[...document.querySelectorAll('body *')].filter((one) => {
    const box = one.getBoundingClientRect(), inside = one.closest('.scroll, ol, .cycles, svg, dialog:not([open]), pre');
    return box.width > 0 && box.right > innerWidth + 1 && !inside;
}).slice(0, 5).map((one) => `${one.tagName} ${one.id} ${one.className}`)"""


def edgead(work: Path, *words: object) -> None:
    """Run a command in `work`; its output is shown only where it fails."""
    command = [sys.executable, "-m", "edgead", *map(str, words)]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])}\n{done.stdout}\n{done.stderr}")


def draw_parts(folder: Path) -> None:
    """A data set of forty good parts, and six of each kind to test."""
    spec = importlib.util.spec_from_file_location("make_parts", ROOT / "examples/make_parts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(folder, 40, 6)


def make_pages(work: Path) -> dict[str, Path]:
    """Every self-contained page, by name; those that are there are not made again."""
    data = work / "parts/flange"
    if not data.exists():
        draw_parts(data)
        shutil.copyfile(data / "test/plugged_hole/000.png", data / "train/good/999.png")  # one that is no good part
        (data / "train/good/broken.png").write_bytes(b"no picture")
    good, bundle, small = data / "train/good", work / "flange.edgead", work / "small.edgead"
    made: dict[str, tuple[Path, Callable[[], None]]] = {
        "build": (
            work / "flange.html",
            lambda: edgead(work, "build", "--data", data, "--budget", "0", "--size", "160", "--out", bundle),
        ),
        "small": (
            small,
            lambda: edgead(work, "build", "--data", good, "--budget", "0", "--size", "96", "--out", small),
        ),
        "outliers": (work / "small.edgead.outliers.html", lambda: None),  # of the small build
        "report": (work / "report.html", lambda: edgead(work, "eval", bundle, data, "--report", "report.html")),
        "reports": (
            work / "reports.html",
            lambda: edgead(work, "eval", bundle, small, data, "--report", "reports.html"),
        ),
        "threshold": (
            work / "threshold.html",
            lambda: edgead(work, "threshold", bundle, "--page", "threshold.html", "--defects", data / "test/scratch"),
        ),
        "components": (
            work / "components.html",
            lambda: edgead(work, "components", good, "--out", "components.html", "--size", "128"),
        ),
        "sweep": (
            work / "flange.sweep/sweep.html",
            lambda: edgead(work, "sweep", data, "--method", "stlm", "--size", "64", "--size", "96", "--budget", "20s"),
        ),
        "shadow": (work / "shadow.html", lambda: compare(work, bundle, small, data)),
        "rebuild": (work / "flange-new.edgead.rebuild.html", lambda: build_again(work, bundle)),
    }
    for path, make in made.values():
        if not path.exists():
            make()
    return {name: path for name, (path, _) in made.items() if path.suffix == ".html"}


def compare(work: Path, bundle: Path, small: Path, data: Path) -> None:
    """Judge the test images with a shadow beside, and keep what is NG or near it for the review."""
    sink = f"keep:{work / 'events'}?good=1&free=1"
    source = f"{data / 'test'}/**/*.png"
    edgead(work, "run", bundle, "--source", source, "--shadow", small, "--sink", sink, "--no-health")
    edgead(work, "shadow", "report", small, "--page", "shadow.html")


def build_again(work: Path, bundle: Path) -> None:
    """Label the events as they were judged, and refit."""
    for event in (work / "events").glob("*/*/"):
        good = event.name.endswith("_OK")
        add_label(event, "ada", Label(label="good") if good else Label(label="defect", kind="scratch"))
    edgead(work, "rebuild", bundle, "--with", "events", "--refit")


@contextlib.contextmanager
def line_at_work(work: Path) -> Iterator[str]:
    """Two cameras behind the live page, with a shadow, events and a review; gives its address."""
    port, seen = free_port(), work / "seen"
    if not seen.exists():
        seen.mkdir()
        for number, path in enumerate(sorted((work / "parts/flange/test/good").glob("*.png"))[:6]):
            shutil.copyfile(path, seen / f"{number:02d}.png")
        for number, kind in enumerate(("scratch", "stain", "plugged_hole")):
            shutil.copyfile(work / f"parts/flange/test/{kind}/003.png", seen / f"{3 + 4 * number:02d}b.png")
    (work / "station.yaml").write_text(
        f"bundle: flange.edgead\nshadow: small.edgead\nreview: 0.9\nthreads: 1\naudit: audit.jsonl\ncameras:\n"
        f"  left: replay:{seen}?fps=2\n  right: replay:{seen}?fps=1.5\nignore:\n  - left=0,0,90,24\n"
        f"sinks:\n  - web:{port}?review=live&station=Press 3\n  - keep:live?good=0.1&free=1\n"
    )
    command = [sys.executable, "-m", "edgead", "run", "--station", "station.yaml"]
    with (work / "station.log").open("w") as log, subprocess.Popen(command, cwd=work, stderr=log) as process:
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/"), 120)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def answers(url: str) -> bool:
    with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


class Photographer:
    """A browser that shows a page at every size and in every theme, and pictures it."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser, self._folder = browser, folder

    def take(self, name: str, url: str, ready: str = "document.readyState === 'complete'", *clicks: str) -> None:
        """Pictures of `url` once `ready` is true, after these clicks, each with what must be true after it."""
        for theme in THEMES:
            media = [{"name": "prefers-color-scheme", "value": theme}]
            self._browser.call("Emulation.setEmulatedMedia", features=media)
            for width, height in SIZES:
                self._browser.resize(width, height)
                self._browser.open("about:blank")
                self._browser.open(url)
                self._browser.until(ready, 60)
                for click, then in zip(clicks[::2], clicks[1::2], strict=True):
                    self._browser.evaluate(f"document.querySelector({click!r}).click()")
                    self._browser.until(then, 60)
                self._picture(f"{name}-{width}-{theme}", width, height)

    def _picture(self, name: str, width: int, height: int) -> None:
        whole = int(self._browser.evaluate("document.documentElement.scrollHeight"))
        clip = {"x": 0, "y": 0, "width": width, "height": min(max(whole, height), TALLEST), "scale": 1}
        self._browser.screenshot(self._folder / f"{name}.png", clip=clip, captureBeyondViewport=True)
        if sticking := self._browser.evaluate(STICKING):
            print(f"{name}: sticks out: {'; '.join(sticking)}", flush=True)


def live_pages(camera: Photographer, work: Path) -> None:
    """The pages of a line at work: what it shows, an anomaly, the areas, the bundles, the review."""
    with line_at_work(work) as url:
        live = (
            "[...document.querySelectorAll('.camera img')].filter(one => one.naturalWidth > 0).length === 2 && "
            "document.querySelectorAll('#anomalies img').length > 3 && "
            "[...document.querySelectorAll('#anomalies img')].every(one => one.naturalWidth > 0)"
        )
        camera.take("line", url, live)
        camera.take("anomaly", url, live, "#anomalies button", "document.querySelector('#closer').open")
        camera.take("areas", url, live, "#areas", "document.querySelector('#area-image').naturalWidth > 0")
        camera.take("bundle", url, live, "#bundles", "document.querySelector('#bundle-dialog').open")
        ready = (  # what is out of view is loaded when somebody looks
            "document.images.length > 3 && [...document.images].every((one) => one.naturalWidth > 0 || "
            "one.getBoundingClientRect().right > innerWidth || one.getBoundingClientRect().bottom > innerHeight)"
        )
        camera.take("review", f"{url}/review", ready)


def main(folder: Path, pages: list[Path]) -> None:
    work = folder.absolute() / "work"
    work.mkdir(parents=True, exist_ok=True)
    named = make_pages(work) | {page.stem: page for page in pages}
    browser = Browser(work / "browser")
    try:
        camera = Photographer(browser, folder)
        for name, path in named.items():
            camera.take(name, path.absolute().as_uri())
        live_pages(camera, work)
    finally:
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
