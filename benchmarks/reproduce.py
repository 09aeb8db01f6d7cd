"""The figures of the README: measured anew, or written into it from what was measured last.

    python benchmarks/reproduce.py measure DATA_FOLDER --keep FOLDER    run every benchmark, then write the tables
    python benchmarks/reproduce.py tables [--check]                     write the tables from benchmarks/results alone

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. The folder of data sets has the sets that are named
below; bundles, networks and the peers' environment stay in `--keep`, and what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
SETS = {  # folder of the data set -> what the README calls it
    "bottle": "MVTec AD bottle",
    "dice": "dice",
    "cubes": "cubes on a robot arm",
    "screw_presence": "screws present",
    "aliens": "alien figures",
    "glass_fibre": "glass fibre",
    "magnetic_tile": "magnetic tile, split in blocks",
    "elpv": "solar cells (ELPV, mono)",
}
SMALL = ("aliens", "screw_presence", "glass_fibre", "cubes", "bottle")  # the peers' sets
CURVE = ("aliens", "glass_fibre")
TRAINING = {"stlm": ("--budget", "3m"), "ast_mfr": ("--budget", "5m")}  # method -> how long, at the most


def steps(data: Path, keep: Path) -> list[list[str]]:
    """The command lines that measure everything, in order."""
    every, small, curve = (
        [str(data / name) for name in names if (data / name).is_dir()] for names in (SETS, SMALL, CURVE)
    )
    bundles = {method: str(keep / method) for method in TRAINING}
    networks = [f"{folder}/bottle.edgead" for folder in bundles.values()]
    quantized = [f"{keep / 'precision'}/{method}-bottle.edgead" for method in TRAINING]
    into = ["--data", str(data), "--keep", str(keep / "precision"), "--out", result("precision")]
    precisions = [
        ["precision.py", *(name for name in SETS if (data / name).is_dir()), "--bundles", folder, *into]
        for folder in bundles.values()
    ]
    accuracy = [
        ["accuracy.py", method, *every, *TRAINING[method], "--keep", folder, "--out", result(f"accuracy-{method}")]
        for method, folder in bundles.items()
    ]
    return [
        *accuracy,
        ["curve.py", *curve, "--steps", "80", "--keep", str(keep / "curve"), "--out", result("curve-stlm")],
        ["frame_path.py", networks[0], "--out", result("frame-path")],
        *precisions,
        ["limit.py", *quantized, "--out", result("limit")],
        ["peers.py", *small, "--bundles", bundles["stlm"], "--keep", str(keep / "peers"), "--out", result("peers")],
    ]


def result(name: str) -> str:
    return str(RESULTS / f"{name.replace('_', '-')}.json")


def markdown(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form).replace("%", " %")


def accuracy_table(found: dict[str, Any]) -> str:
    """One row a data set, the best first."""
    head = ["images", "trained on", "steps", "image AUROC", "pixel AUROC", "AUPRO 30 %", "false alarms", "misses"]
    rows = [
        [
            SETS[name], str(one["train"]), str(one["steps"]),
            *(number(one[what], ".3f") for what in ("image_auroc", "pixel_auroc", "aupro")),
            *(number(one[what], ".1%") for what in ("false_alarm_rate", "miss_rate")),
            number(one["latency_ms"], ".1f"),
        ]
        for name in SETS if (one := found["sets"].get(name))
    ]  # fmt: skip
    return markdown([*head, "ms, 1 thread"], rows)


def peers_table(found: dict[str, Any]) -> str:
    """One row a model: its image AUROC (and AUPRO) on every set, and its costs on the set that was disturbed least."""
    sets = {name: one["models"] for name, one in found["sets"].items()}
    quiet = min(sets, key=lambda name: found["sets"][name]["others"])
    costs = ["trained, s", "MB", "ms, ONNX Runtime", "ms, OpenVINO", "ms, frame"]
    rows = [
        [model, *(accuracy(of.get(model)) for of in sets.values()), number(one["training_seconds"], ".0f"),
         number(one["model_bytes"] / 1e6, ".1f"),
         *(number(one["ms"][kind]["least"], ".1f") for kind in ("onnxruntime", "openvino", "frame"))]
        for model, one in sets[quiet].items()
    ]  # fmt: skip
    return markdown(["", *(SETS[name] for name in sets), *costs], rows)


def accuracy(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return ""
    aupro = figures.get("aupro")
    return number(figures["image_auroc"], ".3f") + ("" if aupro is None else f" / {aupro:.3f}")


def limit_table(found: dict[str, Any]) -> str:
    """One row a network."""
    rows = [
        [
            name,
            f"{one['gmac']:.2f}",
            f"{one['least_ms']:.1f}",
            f"{one['gmac_a_second']:.1f}",
            number(one["of_peak"], ".0%"),
        ]
        for name, one in found["networks"].items()
    ]
    peaks = ", ".join(f"{value:.1f} in {kind}" for kind, value in found["peak_gmac_a_second"].items())
    head = ["network", "GMAC", "ms, least", "GMAC a second", f"of the peak ({peaks})"]
    return markdown(head, rows)


def precision_table(found: dict[str, Any]) -> str:
    """One row a bundle: image AUROC (and AUPRO) of every network, sizes, and how long INT8 takes of FP32's time."""
    columns = ["fp32", "int8 onnx", "int8 openvino", "int8 tensorrt", "fp16 tensorrt"]
    rows = []
    for name, one in found["sets"].items():
        method, _, images = name.partition(" ")
        networks = one["networks"]
        sizes = [networks[column].get("bytes") for column in ("fp32", "int8 onnx", "int8 tensorrt", "fp16 tensorrt")]
        times = [networks[column] for column in ("int8 onnx", "int8 openvino")]
        rows.append([
            f"`{method}`, {SETS.get(images, images)}",
            *("left out" if networks[column].get("reason") else accuracy(networks[column]) for column in columns),
            " / ".join(number(size and size / 1e6, ".1f") or "–" for size in sizes),
            " / ".join(number(t["milliseconds"] and t["milliseconds"] / t["milliseconds_fp32"], ".2f") for t in times),
        ])  # fmt: skip
    forms = ["FP32", "INT8, ONNX Runtime", "INT8, OpenVINO", "INT8 with FP16, TensorRT*", "FP16, TensorRT*"]
    return markdown(["network", *forms, "MB", "INT8's time"], rows)


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {  # name -> results, what is made of them
    "stlm": ("accuracy-stlm", accuracy_table),
    "ast_mfr": ("accuracy-ast_mfr", accuracy_table),
    "peers": ("peers", peers_table),
    "limit": ("limit", limit_table),
    "precision": ("precision", precision_table),
}


def written(text: str) -> str:
    """The README with every table made anew."""
    for name, (source, make) in TABLES.items():
        table = make(json.loads(Path(result(source)).read_text(encoding="utf-8")))
        place = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not place.search(text):
            raise SystemExit(f"the README has no place for the table {name}")
        text = place.sub(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure")
    measure.add_argument("data", type=Path)
    measure.add_argument("--keep", type=Path, required=True)
    commands.add_parser("tables").add_argument(
        "--check", action="store_true", help="fail where they are not up to date"
    )
    given = parser.parse_args()
    if given.command == "measure":
        for program, *arguments in steps(given.data, given.keep):
            subprocess.run([sys.executable, HERE / program, *arguments], check=True)
    before = README.read_text(encoding="utf-8")
    after = written(before)
    if getattr(given, "check", False):
        raise SystemExit("the README's tables are not those of benchmarks/results" if before != after else 0)
    README.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
