"""Measures the figures of the documentation anew, or writes into it what was measured last.

    python benchmarks/reproduce.py measure DATA_FOLDER --keep FOLDER    run every benchmark, then write the tables
    python benchmarks/reproduce.py tables [--check]                     write the tables from the results alone

Results are of one machine and lie in its folder, benchmarks/results/MACHINE (`--machine`). A table stands in a page
between `<!-- table: NAME -->` and `<!-- end -->`. The folder of data sets has the sets that are named below; bundles,
networks and the peers' environment stay in `--keep`, and what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gpu_table import where

HERE = Path(__file__).parent
MACHINE = "epyc-2core"  # whose figures the documentation shows
RESULTS = HERE / "results"
ROOT = HERE.parent
PAGES = (  # that have tables
    "README.md",
    "docs/figures.md",
    "docs/nvidia.md",
    "docs/precision.md",
    "docs/review.md",
    "docs/scale.md",
    "docs/thresholds.md",
)
CURVE_IMAGE = ROOT / "docs/images/curve-stlm.svg"
SETS = {  # folder of the data set -> what the documentation calls it
    "bottle": "MVTec AD bottle",
    "dice": "dice",
    "cubes": "cubes on a robot arm",
    "screw_presence": "screws present",
    "aliens": "alien figures",
    "glass_fibre": "glass fibre",
    "casting": "castings",
    "magnetic_tile": "magnetic tile, split in blocks",
    "elpv": "solar cells (ELPV, mono)",
}
LARGE = ("bottle", "casting", "dice", "elpv", "magnetic_tile")  # of 200 good images and more
SMALL = ("aliens", "screw_presence", "glass_fibre", "cubes", "bottle")  # the peers' sets
CURVE = ("aliens", "glass_fibre")
TRAINING = {"stlm": "3m", "ast_mfr": "5m"}  # method -> how long, at the most
LONGER = {("ast_mfr", "elpv"): "10m"}
TRAYS = "trays"  # generated images whose defects are logical
PANELS = "panels"  # likewise, of another family
DIGITS = "digits"  # generated scenes of nine objects in order
DRAWN = (TRAYS, PANELS, DIGITS)
KITS = ("screw_presence", TRAYS)  # the sets of csad
GENICAM = "arv-fake-gv-camera-0.8"  # Aravis' own camera
GPU = "nvidia-smi"  # the program that shows there is one


QUICK = {  # program -> what is given to it instead, to show in minutes that every step runs; the last one said counts
    "accuracy": ("--steps", "2"),
    "background": ("--steps", "2"),
    "comparison": ("--quick",),
    "curve": ("--steps", "2"),
    "frame_path": ("--rounds", "10"),
    "genicam_soak": ("--minutes", "0.2"),
    "limit": ("--rounds", "10"),
    "logical": ("--steps", "2"),
    "object_parts": ("--train", "20", "--each", "4", "--sizes", "100"),
    "peers": ("--seconds", "2"),
    "plc_soak": ("--parts", "50"),
    "review": ("--events", "500", "--labels", "5"),
    "distributed": ("--products", "2", "--images", "20"),
    "shadow": ("--frames", "30", "--rounds", "1"),
    "soak": ("--minutes", "0.2"),
    "tiles": ("--tiles", "1x1"),
}


def steps(data: Path, keep: Path, machine: str = MACHINE) -> list[list[str]]:
    """The command lines that measure everything, in order. What needs a GPU or Aravis is left out where it is not."""

    def sets(*names: str) -> list[str]:
        found = ((keep if name in DRAWN else data) / name for name in names)
        return [str(path) for path in found if path.is_dir() or path.name in DRAWN]

    def out(name: str) -> list[str]:
        return ["--out", result(name, machine)]

    def accuracy(method: str, budget: str, *names: str) -> list[str]:
        into = ["--keep", str(keep / method), *out(f"accuracy-{method}")]
        return ["accuracy.py", method, *sets(*names), "--budget", budget, *into]

    def precision(method: str, root: Path, *names: str) -> list[str]:
        found = [Path(path).name for path in sets(*names)]
        into = ["--data", str(root), "--keep", str(keep / "precision"), *out("precision")]
        return ["precision.py", *found, "--bundles", str(keep / method), *into]

    def trained(method: str) -> Iterator[list[str]]:
        usual = [name for name in SETS if (method, name) not in LONGER]
        yield accuracy(method, TRAINING[method], *usual)
        for name in (name for name in SETS if name not in usual and sets(name)):
            yield accuracy(method, LONGER[method, name], *usual, name)

    stlm, limits = str(keep / "stlm/bottle.edgead"), keep / "thresholds"
    networks = [str(keep / "precision" / name) for name in ("stlm-bottle.edgead", "ast_mfr-bottle.edgead")]
    quantized = [*networks, str(keep / "precision/csad-screw_presence.edgead")]
    peers = ["peers.py", "--keep", str(keep / "peers")]
    bottle = [*sets("bottle"), "--preset", "edge"]
    found = [
        *([f"../tests/support/{name}.py", str(keep / name)] for name in DRAWN),
        *(line for method in TRAINING for line in trained(method)),
        ["accuracy.py", "csad", *sets(*KITS), "--steps", "160", "--keep", str(keep / "csad"), *out("accuracy-csad")],
        ["curve.py", *sets(*CURVE), "--steps", "80", "--keep", str(keep / "curve"), *out("curve-stlm")],
        ["frame_path.py", stlm, *out("frame-path")],
        ["serving.py", stlm, *out("serving")],
        *(precision(method, data, *SETS) for method in TRAINING),
        *(precision("csad", keep if name == TRAYS else data, name) for name in KITS),
        ["limit.py", *quantized, *out("limit")],
        ["logical.py", *sets(*KITS, PANELS), "--steps", "160", "--keep", str(keep / "logical"), *out("logical")],
        ["objects.py", str(keep / TRAYS), str(keep / DIGITS), "--keep", str(keep / "objects"), *out("objects")],
        ["object_parts.py", *out("object-parts")],
        ["objects_published.py", *out("objects-published")],
        ["thresholds.py", *sets(*SETS), "--budget", "0", "--keep", str(limits), *out("thresholds")],
        [
            "threshold_rules.py",
            *(f"{limits / Path(one).name}-0.edgead" for one in sets(*LARGE)),
            *out("threshold-rules"),
        ],
        ["contamination.py", *sets("cubes", "casting", "bottle"), "--keep", str(keep / "mixed"), *out("contamination")],
        ["threshold_simulation.py", *out("threshold-simulation")],
        ["drift.py", stlm, *sets("bottle"), *out("drift")],
        ["background.py", "ast_mfr", *bottle, "--steps", "80", *out("background-ast-mfr")],
        ["tiles.py", str(keep / "surfaces"), *out("tiles")],
        ["engines.py", *quantized, *out("engines-rtx")],
        ["gpu_host.py", *out("gpu-host")],
        ["soak.py", stlm, *out("soak")],
        ["review.py", "--line", stlm, *out("review")],
        ["distributed.py", stlm, *out("distributed")],
        ["station_loop.py", *sets("bottle", "casting"), *out("station-loop")],
        ["shadow.py", stlm, str(keep / "ast_mfr/bottle.edgead"), *out("shadow")],
        ["plc_soak.py", stlm, *out("plc-soak")],
        ["comparison.py", str(data), "--keep", str(keep / "comparison"), *out("comparison")],
        [*peers, *sets(*SMALL), "--bundles", str(keep / "stlm"), *out("peers")],
        [*peers, *sets(*KITS), "--bundles", str(keep / "csad"), *out("peers-trays")],
    ]
    if shutil.which(GENICAM):
        found.append(["genicam_soak.py", *out("genicam-soak")])
    if shutil.which(GPU):
        found += [["gpu_engine.py", stlm, *out("gpu-engine")], ["kernels.py", *out("kernels")]]
        found.append(["torch_engine.py", stlm, *out("engine")])
    return found


def quick(line: Sequence[str]) -> list[str]:
    """A step with little to do: its figures say nothing."""
    return [*line, *QUICK.get(Path(line[0]).stem, ())]


def measure(lines: Sequence[Sequence[str]]) -> None:
    """Run every step; one that fails costs its own figures. Exits with their names."""
    failed = []
    for program, *arguments in lines:
        print("==", program, *arguments, flush=True)
        if subprocess.run([sys.executable, HERE / program, *arguments], check=False).returncode:
            failed.append(program)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; what they need is said above, and the same command goes on")


def result(name: str, machine: str = MACHINE) -> str:
    return str(RESULTS / machine / f"{name.replace('_', '-')}.json")


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


def comparison_table(found: dict[str, Any]) -> str:
    """One row a set: mean image AUROC (and AUPRO) over seeds of edgead without training and of every peer."""
    every = {model for one in found["summary"].values() for model in one}
    models = sorted(every, key=lambda one: (one != "memory", one))
    rows = []
    for name, one in found["summary"].items():
        means = ({figure: entry["mean"] for figure, entry in one.get(model, {}).items()} for model in models)
        seeds = max(entry["image_auroc"]["seeds"] for entry in one.values())
        rows.append([SETS[name], str(seeds), *(accuracy(mean or None) for mean in means)])
    return markdown(["images", "seeds", *("edgead" if one == "memory" else one for one in models)], rows)


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


def thresholds_table(found: dict[str, Any]) -> str:
    """One row a data set: means over the seeds."""
    head = [
        "images", "good images", "image AUROC", "set for", "expected, 95 %", "false alarms seen", "misses",
        "misses in hindsight", "allowed at 1 %", "misses, extrapolated", "misses, counted",
    ]  # fmt: skip
    rows = []
    for name, called in SETS.items():
        runs = [run for run in found["runs"] if run["set"] == name]
        if not runs:
            continue
        shipped = [run["shipped"] for run in runs]
        low, high = (statistics.mean(run["stated"][end] for run in runs) for end in (0, 1))
        rows.append([
            called, counted_images(runs[0]), mean_of(runs, "image_auroc", ".3f"), mean_of(runs, "aimed_rate", ".1%"),
            f"{100 * low:.1f} to {100 * high:.1f} %", mean_of(shipped, "false_alarms", ".1%"),
            *(mean_of(shipped, what, ".1%") for what in ("misses", "misses_in_hindsight")),
            mean_of(runs, "misses_allowed_at_rate", ".1%"),
            *(mean_of([run[rule] for run in runs], "misses", ".1%") for rule in ("extrapolated", "counted")),
        ])  # fmt: skip
    return markdown(head, rows)


def counted_images(run: dict[str, Any]) -> str:
    """How many good images a threshold rests on, and of how many parts where several show one."""
    parts = run.get("parts", run["good"])
    return f"{run['good']} of {parts} parts" if 2 * parts < run["good"] else str(run["good"])


def mean_of(figures: Sequence[dict[str, Any]], what: str, form: str) -> str:
    return number(statistics.mean(one[what] for one in figures), form)


def plan_table(found: dict[str, Any]) -> str:
    """What an image of an archive costs, and what `images` of them do."""
    one, plan = found["archive"], found["plan"]
    millions = plan["images"] / 1e6

    def hours(milliseconds: float) -> str:
        return f"{millions * milliseconds / 3.6:.0f} core-hours"

    rows = [
        ["reading", f"{one['image_bytes'] / 1e6:.2f} MB", f"{plan['bytes_read'] / 1e12:.1f} TB"],
        ["decoding", f"{one['decode_ms']:.1f} ms", hours(one["decode_ms"])],
        ["resizing, network, fusion", f"{one['judge_ms']:.1f} ms", hours(one["judge_ms"])],
        ["row", f"{one['row_bytes']} bytes", f"{plan['bytes_written'] / 1e9:.1f} GB"],
        ["list of names, in the process that starts the work", f"{one['name_bytes']} bytes",
         f"{plan['bytes_of_names'] / 1e9:.1f} GB"],
        [f"the processors of {plan['cores']} cores", "", f"{plan['hours_of_processors']:.1f} hours"],
        [f"a link of {plan['link_gbit']} Gbit/s", "", f"{plan['hours_of_link']:.1f} hours"],
    ]  # fmt: skip
    return markdown(["step", "an image", f"{plan['images']:,} images"], rows)


def builds_table(found: dict[str, Any]) -> str:
    """Seconds of the same builds by one worker and by two."""
    builds = found["builds"]
    one, two = (sum(builds["seconds"][workers]) for workers in ("1", "2"))
    head = ["products", "1 worker", "2 workers", "times as fast"]
    return markdown(head, [[str(builds["products"]), f"{one:.0f} s", f"{two:.0f} s", f"{builds['speed_up']:.2f}"]])


def review_table(found: dict[str, Any]) -> str:
    """How soon the review page is there, and what it costs a line."""
    searches = found["searches"].values()
    opened, beside = found["page_opens"], found["beside_a_line"]
    both = beside["page_opens"]
    rows = [
        ["the index is built, once", f"{found['index_built_s']:.1f} s", ""],
        ["a search, of ten kinds", f"{min(one['median_ms'] for one in searches):.1f} to "
         f"{max(one['median_ms'] for one in searches):.0f} ms", f"{max(one['longest_ms'] for one in searches):.0f} ms"],
        ["the page is there", f"{opened['median_ms'] / 1e3:.2f} s", f"{opened['longest_ms'] / 1e3:.2f} s"],
        ["the same of a line at work", f"{both['median_ms'] / 1e3:.2f} s", f"{both['longest_ms'] / 1e3:.2f} s"],
    ]  # fmt: skip
    return markdown([f"{found['events']:,} events", "median", "longest"], rows)


def loop_table(found: dict[str, Any]) -> str:
    """One row a data set: once around the loop at a station."""
    rows = []
    for name, one in found["sets"].items():
        old, new = one["unseen"]["old"], one["unseen"]["new"]
        rows.append([
            SETS.get(name, name), f"{one['review']['labels']}, {one['review']['labels_a_minute']} a minute",
            *(f"{each['false_alarms']} of {each['good']}" for each in (old, new)),
            *(f"{each['found']} of {each['defective']}" for each in (old, new)),
            f"{one['shadow']['agreed']} of {one['shadow']['judged']}",
            f"{one['station']['promote_s']:.1f} s, {one['station']['rollback_s']:.1f} s",
        ])  # fmt: skip
    head = ["images", "labels", "false alarms before", "after", "found before", "after", "shadow agreed",
            "promoted, and back"]  # fmt: skip
    return markdown(head, rows)


TABLES: dict[str, tuple[tuple[str, ...], Callable[..., str]]] = {  # name -> results, what is made of them
    "stlm": (("accuracy-stlm",), accuracy_table),
    "ast_mfr": (("accuracy-ast_mfr",), accuracy_table),
    "peers": (("peers",), peers_table),
    "comparison": (("comparison",), comparison_table),
    "limit": (("limit",), limit_table),
    "precision": (("precision",), precision_table),
    "thresholds": (("thresholds",), thresholds_table),
    "plan": (("distributed",), plan_table),
    "builds": (("distributed",), builds_table),
    "review": (("review",), review_table),
    "loop": (("station-loop",), loop_table),
    "gpu": (("engines-rtx", "gpu-host"), where),
}


def written(text: str) -> str:
    """A page with each of its tables made anew."""

    def anew(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise SystemExit(f"no table is called '{match[2]}': there are {', '.join(TABLES)}")
        sources, make = TABLES[match[2]]
        table = make(*(json.loads(Path(result(one)).read_text(encoding="utf-8")) for one in sources))
        return f"{match[1]}\n{table}\n\n<!-- end -->"

    return re.sub(r"(<!-- table: (\w+) -->\n).*?<!-- end -->", anew, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("measure")
    run.add_argument("data", type=Path)
    run.add_argument("--keep", type=Path, required=True)
    run.add_argument("--machine", default=MACHINE, help="folder of the results, below benchmarks/results")
    run.add_argument("--only", nargs="+", help="these programs alone, such as precision limit")
    run.add_argument("--quick", action="store_true", help="two steps of training each: shows that it runs, no figures")
    commands.add_parser("tables").add_argument(
        "--check", action="store_true", help="fail where they are not up to date"
    )
    given = parser.parse_args()
    if given.command == "measure":
        machine = "quick" if given.quick else given.machine
        (RESULTS / machine).mkdir(exist_ok=True)
        lines = steps(given.data, given.keep, machine)
        lines = [line for line in lines if not given.only or Path(line[0]).stem in given.only]
        measure([quick(line) for line in lines] if given.quick else lines)
        if machine != MACHINE:
            return
    pages = {ROOT / name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
    stale = [page.name for page, text in pages.items() if written(text) != text]
    if getattr(given, "check", False):
        raise SystemExit(f"tables are not those of the results: {', '.join(stale)}" if stale else 0)
    for page, text in pages.items():
        page.write_text(written(text), encoding="utf-8")
    shutil.copyfile(Path(result("curve-stlm")).with_suffix(".svg"), CURVE_IMAGE)


if __name__ == "__main__":
    main()
