"""Latency of SAM-LAD's published form by part, one thread, on weights of noise: times do not depend on them.

    python benchmarks/objects_published.py --out FILE

Scenes are those of tests/support/digits.py. What is matched are bright pieces, since SAM on noise finds nothing; its
own masks are timed beside that at 8 x 8 points, where 32 x 32 are asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import digits
import published

from edgead.bundle.draft import BundleDraft, DraftNetwork, DraftSpec
from edgead.engines.onnx import OnnxEngine
from edgead.ops.everything import lend
from edgead.ops.proposals import find_pieces
from edgead.system.device import describe_device
from edgead_tools.components.lent_sam import sam_lender
from edgead_tools.export.network import export
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.sam_lad import paper
from edgead_tools.training.run import Run

SIDE = 224
POINTS = 8
LEARNED = 10


def bright_pieces(image: np.ndarray) -> list[np.ndarray]:
    """Masks of everything bright."""
    return find_pieces([np.asarray(image).max(axis=2) > 60], 0.001)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    scenes = [digits.good(random, learned=True).picture for _ in range(LEARNED + 1)]
    *learned, seen = (cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in scenes)
    images = TrainingImages(np.stack(learned[:8]), np.stack(learned[8:]))
    method = paper.SamLadPaper()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder)
        published.write_weights(weights, method.weights)
        finder = sam_lender(weights)(msgspec.structs.replace(method.proposals(), points=POINTS))
        start = time.perf_counter()
        finder(seen)
        masks = time.perf_counter() - start
        paper.sam_lender = lambda *_: lambda spec: bright_pieces  # type: ignore[assignment]
        trained = method.train(images, Run(weights, budget=0, threads=1, weights=weights))
        report = export(trained, weights / "model.onnx", images.train[:1])
        spec = DraftSpec("published", "sam_lad", trained.input, trained.fusion, DraftNetwork("model.onnx"))
        members = {"model.onnx": report.path.read_bytes(), **trained.members}
        with lend(lambda _: bright_pieces):
            engine = OnnxEngine(BundleDraft(spec, members, {}), threads=1)
        readings = [engine.infer([seen])[0] for _ in range(1 + given.repeat)][1:]
    result = {
        "device": describe_device(),
        "weights": "noise in the published layouts",
        "good_images": LEARNED,
        "objects": trained.report["matching"]["objects"],
        "milliseconds": {
            "network": round(float(np.median([one.infer_ms for one in readings])), 1),
            "after the network, without SAM": round(float(np.median([one.postprocess_ms for one in readings])), 1),
            f"MobileSAM at {POINTS} x {POINTS} points": round(1e3 * masks),
        },
        "megabytes": {
            "network": round(len(members["model.onnx"]) / 2**20, 1),
            "bank": round(sum(map(len, trained.members.values())) / 2**20, 1),
        },
        "largest_error_of_the_export": report.errors,
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
