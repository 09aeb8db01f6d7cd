"""What surrounds the network on one frame: the resize's cost and aliasing, and the detector over the bare engine.

    python benchmarks/frame_path.py BUNDLE [--out FILE]

Everything is measured in one run on one thread, in turn, so that ratios hold on a busy machine. Milliseconds are
of CPU time of this thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead import Detector, Frame
from edgead.ops import resize, to_input
from edgead.system.device import describe_device
from edgead.types import ImageU8

FRAME = (1080, 1920)


def grating(period: float, angle: float) -> ImageU8:
    """A sine grating at frame size whose period is given in pixels of the frame."""
    rows, columns = np.mgrid[: FRAME[0], : FRAME[1]]
    phase = 2 * np.pi / period * (columns * np.cos(angle) + rows * np.sin(angle))
    return np.repeat((127.5 + 127.5 * np.sin(phase)).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)


def aliasing(shrink: Callable[[ImageU8], ImageU8], size: int) -> float:
    """Mean contrast left of gratings finer than a target of `size` rows can show; 0 is ideal, 1 is all of it."""
    nyquist = 2 * FRAME[0] / size  # pixels of the frame; both directions shrink at least as much as the rows
    left = []
    for period in nyquist * np.array([0.25, 0.35, 0.5, 0.7, 0.9]):
        for angle in (0.5 * np.pi, 0.4 * np.pi, 0.6 * np.pi):
            picture = grating(period, angle)
            left.append(float(shrink(picture).std() / picture.std()))
    return float(np.mean(left))


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of thread CPU time of each call, every round running all of them once."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 3):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            if number >= 3:
                spent[name].append(1e3 * (time.thread_time() - start))
    return spent


def measure(bundle: Path, rounds: int) -> dict[str, Any]:
    cv2.setNumThreads(1)
    frame = np.random.default_rng(0).integers(0, 256, (*FRAME, 3), dtype=np.uint8)
    with Detector(bundle, engine="onnx", threads=1) as detector:
        spec = detector.bundle.manifest.input
        size = (spec.width, spec.height)
        shrinks: dict[str, Callable[[ImageU8], ImageU8]] = {
            "edgead": lambda image: resize(image, spec.height, spec.width),
            "bilinear": lambda image: cv2.resize(image, size, interpolation=cv2.INTER_LINEAR),
            "area": lambda image: cv2.resize(image, size, interpolation=cv2.INTER_AREA),
        }
        tensor = to_input(frame, spec)[np.newaxis]
        session = detector.engine._session
        names = [part.name for part in detector.bundle.manifest.fusion.maps]
        calls: dict[str, Callable[[], Any]] = {
            "engine": lambda: session.run(names, {"image": tensor}),
            "detector": lambda: detector.detect(Frame(frame)),
            **{f"resize {name}": lambda shrink=shrink: shrink(frame) for name, shrink in shrinks.items()},
        }
        spent = in_turn(calls, rounds)
        over = np.array(spent["detector"]) - np.array(spent["engine"])
        return {
            "frame": list(FRAME),
            "input": list(size),
            "ms": {name: round(float(np.median(values)), 3) for name, values in spent.items()},
            "over_engine_ms": round(float(np.median(over)), 3),
            "allowed_ms": round(1.5 + 0.05 * float(np.median(spent["engine"])), 3),
            "aliasing": {name: round(aliasing(shrink, spec.height), 3) for name, shrink in shrinks.items()},
            "device": describe_device(),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    text = json.dumps(measure(given.bundle, given.rounds), indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
