"""Measures what tiles find: small defects in large frames, by size, with and without tiles, with time and memory.

    python benchmarks/tiles.py FOLDER --out FILE.json [--tiles 1x1 5x4 9x7] [--steps 0]

Frames of 4096 x 3000 are drawn into the folder (brushed metal with bores, tests/support/surfaces.py), 40 good ones to
learn from, 24 good ones to test, and 60 with one defect of 6 to 40 pixels each: dents, scratches and rough spots whose
contrast is 25 to 80 gray levels. What is there is not drawn again, and bundles are kept. A defect counts as found where
the bundle's own threshold says NG; of the good frames the share that is refused is given beside it. Times are of one
thread of this machine, memory is the peak of a process that only judges.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np

from edgead import Detector
from edgead.bundle import Bundle
from edgead.config import BuildConfig
from edgead.images import read_image
from edgead.progress import ConsoleReporter
from edgead.system.device import describe_device
from edgead_tools.data.defects import DefectKind, plant_defect
from edgead_tools.pipeline.build import build

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.surfaces import draw_surface, write, write_surfaces

SIZE = (3000, 4096)
GOOD = {"train": 40, "test": 24}
DEFECTIVE = 60
SIZES, CONTRASTS = (6.0, 40.0), (25.0, 80.0)
BINS = (6, 10, 16, 25, 40)  # pixels between which found shares are given
KINDS: tuple[DefectKind, ...] = get_args(DefectKind)
TIMED = 12  # frames


def draw(root: Path) -> None:
    """The data set, unless it is there."""
    listed = root / "defects.json"
    if listed.exists():
        return
    write_surfaces(root, GOOD, SIZE)
    random, defects = np.random.default_rng(1), {}
    for folder in ("test/defect", "ground_truth/defect"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(DEFECTIVE):
        size, contrast = (float(np.exp(random.uniform(*np.log(ends)))) for ends in (SIZES, CONTRASTS))
        good = draw_surface(random, *SIZE)
        spoiled, change = plant_defect(good, KINDS[index % len(KINDS)], size, contrast, random)
        mask = np.where((cv2.absdiff(spoiled, good) > 5).any(2), 255, 0).astype(np.uint8)
        write(root / f"test/defect/{index:03d}.png", spoiled)
        write(root / f"ground_truth/defect/{index:03d}_mask.png", mask)
        defects[f"{index:03d}"] = {"kind": KINDS[index % len(KINDS)], "size": size, "contrast": change}
    listed.write_text(json.dumps(defects, indent=1))


def built(root: Path, tiles: str, steps: int, threads: int) -> tuple[Bundle, float]:
    """The bundle of a grid and the seconds that its build took; 0 where it was there."""
    path = root / f"{tiles}-{steps}.edgead"
    if path.exists():
        return Bundle.open(path), 0.0
    how: dict[str, Any] = {"steps": steps} if steps else {"budget": "0"}
    start = time.perf_counter()
    config = BuildConfig(data=str(root), tiles=tiles, threads=threads, out=str(path), **how)
    bundle = build(config, ConsoleReporter()).bundle
    return bundle, time.perf_counter() - start


def judge(bundle: Path, root: Path) -> dict[str, Any]:
    """What a bundle says of every test frame, and what that costs; run in a process of its own, for its memory."""
    defects, scores, good, times = json.loads((root / "defects.json").read_text()), {}, [], []
    with Detector(bundle, engine="onnx", threads=1) as detector:
        detector(np.zeros((*SIZE, 3), np.uint8))
        for path in sorted((root / "test").glob("*/*.png")):
            result = detector(read_image(path))
            times.append((result.timings.preprocess, result.timings.infer, result.timings.postprocess))
            if path.parent.name == "good":
                good.append(result.score)
            else:
                scores[path.stem] = result.score
    found = {name: score > 1 for name, score in scores.items()}
    bins = {
        f"{low} to {high}": {
            "defects": len(inside := [found[n] for n, one in defects.items() if low <= one["size"] < high]),
            "found": round(float(np.mean(inside)), 3),
        }
        for low, high in pairwise(BINS)
    }
    above = [score > max(good) for score in scores.values()]
    auroc = np.mean([(a > b) + 0.5 * (a == b) for a in scores.values() for b in good])
    stages = [round(statistics.median(one), 1) for one in zip(*times, strict=True)]
    return {
        "found": round(float(np.mean(list(found.values()))), 3),
        "found_by_size": bins,
        "false_alarms": round(float(np.mean([score > 1 for score in good])), 3),
        "above_all_good": round(float(np.mean(above)), 3),
        "image_auroc": round(float(auroc), 4),
        "milliseconds": dict(zip(("preprocess", "infer", "postprocess"), stages, strict=True)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiles", nargs="+", default=["1x1", "3x2", "5x4", "9x7"], metavar="COLUMNSxROWS")
    parser.add_argument("--steps", type=int, default=0, help="of training; 0: the memory alone")
    parser.add_argument("--threads", type=int, default=1, help="of the build")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.judge:
        print(json.dumps(judge(chosen.judge, chosen.folder)))
        return
    draw(chosen.folder)
    rows = {}
    for tiles in chosen.tiles:
        bundle, seconds = built(chosen.folder, tiles, chosen.steps, chosen.threads)
        assert bundle.path is not None
        command = [sys.executable, __file__, str(chosen.folder), "--judge", str(bundle.path)]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        spec, detection = bundle.manifest.input, bundle.manifest.detection
        planted = None if detection is None else detection.curves[0].a90
        rows[tiles] = measured | {
            "inputs_a_frame": spec.batch,
            "frame_resized_to": [spec.frame[1], spec.frame[0]],
            "apart": spec.tiles is not None and spec.tiles.apart,
            "a90_pixels": None if planted is None or detection is None else round(planted * min(detection.frame), 1),
            "build_seconds": round(seconds),
        }
        print(tiles, json.dumps(rows[tiles]))
    record = {"device": describe_device(), "frames": [SIZE[1], SIZE[0]], "steps": chosen.steps, "tiles": rows}
    if chosen.out:
        chosen.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
