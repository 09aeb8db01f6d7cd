"""What each precision costs and gains: FP32, INT8 and FP16 of trained bundles, on labeled images they never saw.

    python benchmarks/precision.py --bundles FOLDER --data FOLDER --keep FOLDER --out FILE SET ...

`--bundles` holds SET.edgead, `--data` the data set it was built from. Precisions pass or fail by good images and
planted anomalies alone; the labeled images only measure what passed. Bundles with all precisions stay in `--keep`, and
a set whose bundle is there is not made again. What is TensorRT's is simulated and has no time. Times are of the network
alone on one thread, FP32 and the other taken in turns.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgead import Bundle, Detector
from edgead.bundle import Artifact
from edgead.bundle.store import write_bundle
from edgead.progress import ConsoleReporter
from edgead.system.device import describe_device
from edgead_calibration.probe import open_probe
from edgead_tools.data import Dataset, open_dataset, split
from edgead_tools.evaluation.evaluate import evaluate
from edgead_tools.pipeline.precisions import fill

RECIPES = ("cpu", "rtx")  # the first on the engines that are here, the second simulated
FIGURES = ("image_auroc", "aupro", "false_alarm_rate", "miss_rate")


def make(source: Path, dataset: Dataset, target: Path) -> Bundle:
    """The bundle with the precisions of every recipe, from an earlier run if it is there."""
    if target.exists():
        return Bundle.open(target)
    bundle = Bundle.open(source)
    seed = bundle.manifest.provenance["config"]["seed"]
    parts = split((*dataset.train, *dataset.validation), seed, validation=dataset.validation)
    for recipe in RECIPES:
        manifest, members, _ = fill(bundle, recipe, replace(dataset, test=()), parts, ConsoleReporter(), seed=seed)
        bundle = write_bundle(target.with_suffix(".part"), manifest, members)
    target.with_suffix(".part").rename(target)
    return bundle


def measure(bundle: Bundle, artifact: Artifact, dataset: Dataset) -> dict[str, Any]:
    """One network on the labeled images, at the threshold it would be shipped with."""
    engine = artifact.engine or "onnx"
    network = bundle.read(artifact.member)
    with open_probe(bundle, network, artifact, engine) as detector:
        found = evaluate(detector, dataset).to_dict()
    return {name: found[name] for name in FIGURES} | {"bytes": len(network)}


def figures(bundle: Bundle, dataset: Dataset) -> dict[str, Any]:
    """Every network of a bundle, and every one that was left out with the reason."""
    trials = bundle.manifest.provenance["precisions"]["trials"]
    rows = {"fp32": measure(bundle, bundle.manifest.artifact("fp32"), dataset)}
    for trial in trials:
        row = {name: trial[name] for name in ("reason", "kept", "share", "milliseconds", "milliseconds_fp32")}
        if not trial["reason"]:
            row |= measure(bundle, bundle.manifest.artifact(trial["precision"], trial["engine"]), dataset)
        rows[f"{trial['precision']} {trial['engine']}"] = row
    with Detector(bundle, engine="onnx") as detector:
        return {"auto_onnx": detector.engine.precision, "networks": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    for name in ("bundles", "data", "keep", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    known = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    result: dict[str, Any] = {"device": describe_device(), "sets": known.get("sets", {})}
    given.keep.mkdir(parents=True, exist_ok=True)
    for name in given.sets:
        dataset = open_dataset(given.data / name)
        bundle = make(given.bundles / f"{name}.edgead", dataset, given.keep / f"{given.bundles.name}-{name}.edgead")
        result["sets"][f"{bundle.manifest.method} {name}"] = figures(bundle, dataset)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(result["sets"][f"{bundle.manifest.method} {name}"]), flush=True)


if __name__ == "__main__":
    main()
