"""Whether the probability of detection that a bundle states holds for real defects: planted beside drawn ones, by size.

    python benchmarks/detection.py BUNDLE=DATA_SET ... --out FILE

The data sets have masks of their defects. A defect's size is the square root of its mask's area as a share of the
frame's shorter side, as that of planted ones is; its contrast is the difference between the mean gray level under the
mask and that around it. In every band of sizes: how many are found of those that were planted at the build (all, and
those whose contrast is in the middle half of the real ones') and of the real ones, with 95 % intervals; and a90 and
a90/95 of both.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead import Bundle, Detector
from edgead.images import read_image
from edgead.system.device import describe_device
from edgead_calibration.detection import fit_hits
from edgead_calibration.thresholds import rate_interval
from edgead_tools.data import Sample, open_dataset, read_mask

EDGES = (0.0, 0.03, 0.06, 0.12, 0.24, 2.0)  # of the bands, shares of the frame's shorter side
AROUND = 0.03  # of the shorter side: how far a defect's surroundings reach

Array = NDArray[np.float64]


def real_defects(bundle: Bundle, data: Path) -> tuple[Array, Array, Array]:
    """Size, contrast in gray levels and raw score of every defective test image that has something drawn."""
    rows = []
    with Detector(bundle, engine="onnx", precision="fp32", threads=1) as detector:
        for sample in open_dataset(data).test:
            if not sample.is_good:
                image = read_image(sample.path)
                size, contrast = _measured(sample, image)
                if size:  # some masks are empty
                    rows.append((size, contrast, detector.read(image).score))
    sizes, contrasts, scores = np.asarray(rows, np.float64).T
    return sizes, contrasts, scores


def _measured(sample: Sample, image: NDArray[np.uint8]) -> tuple[float, float]:
    height, width = image.shape[:2]
    mask = read_mask(sample, height, width).astype(np.uint8)
    reach = 2 * max(1, round(AROUND * min(height, width))) + 1
    ring = (cv2.dilate(mask, np.ones((reach, reach), np.uint8)) > 0) & (mask == 0)
    gray = image.mean(axis=2)
    drawn = bool(mask.any() and ring.any())
    contrast = abs(gray[mask > 0].mean() - gray[ring].mean()) if drawn else 0.0
    return float(np.sqrt(mask.sum()) / min(height, width)), float(contrast)


def figures(bundle: Bundle, data: Path) -> dict[str, Any]:
    """Planted beside real defects, by size."""
    detection, threshold = bundle.manifest.detection, bundle.manifest.artifact("fp32").thresholds.image
    assert detection is not None  # every build has one
    sizes, contrasts, scores = real_defects(bundle, data)
    low, high = np.quantile(contrasts, [0.25, 0.75])
    planted = np.array([(one.size, one.contrast, one.score) for one in detection.planted])
    alike = planted[(planted[:, 1] >= low) & (planted[:, 1] <= high)]
    found, curve = scores > threshold, next(one for one in detection.curves if one.kind == "all")
    fitted = fit_hits(sizes.tolist(), found.tolist())
    return {
        "contrasts": np.quantile(contrasts, [0.1, 0.25, 0.5, 0.75, 0.9]).round(1).tolist(),
        "planted": {"a90": curve.a90, "a90_95": curve.a90_95},
        "real": {"a90": fitted.a90, "a90_95": fitted.a90_95},
        "bands": [
            {"sizes": [start, end]}
            | {
                name: _share(some[(some[:, 0] >= start) & (some[:, 0] < end), -1] > threshold)
                for name, some in (
                    ("planted", planted),
                    ("planted_alike", alike),
                    ("real", np.stack([sizes, contrasts, scores], axis=1)),
                )
            }
            for start, end in itertools.pairwise(EDGES)
        ],
    }


def _share(found: NDArray[np.bool_]) -> dict[str, Any]:
    """How many were found of how many, and the 95 % interval of the share."""
    count, hits = len(found), int(found.sum())
    return {"of": count, "found": hits, "interval": rate_interval(count, hits) if count else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="BUNDLE=DATA_SET")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result: dict[str, Any] = {"device": describe_device(), "runs": []}
    for pair in given.pairs:
        path, _, data = pair.partition("=")
        result["runs"].append({"set": Path(data).name} | figures(Bundle.open(path), Path(data)))
        print(json.dumps(result["runs"][-1]), flush=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
