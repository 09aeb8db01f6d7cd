"""The tables of the documentation, made from the results.

tables.py is no program: `reproduce.py tables` writes what it makes, between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gpu_table import where

MACHINE = "epyc-2core"  # whose figures the documentation shows
RESULTS = Path(__file__).parent / "results"
PAGES = (  # that have tables
    "README.md",
    "docs/figures.md",
    "docs/nvidia.md",
    "docs/precision.md",
    "docs/review.md",
    "docs/scale.md",
    "docs/thresholds.md",
)
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


def result(name: str, machine: str = MACHINE) -> str:
    """The file of a benchmark's results."""
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


def comparison_table(found: dict[str, Any], *, spread: bool = False) -> str:
    """One row a set: mean image AUROC (and AUPRO) over seeds of edgead without training and of every peer; with
    `spread` their deviation, and how many seeds: edgead's and, where they are others, those of peers."""
    every = {model for one in found["summary"].values() for model in one}
    models = sorted(every, key=lambda one: (one != "memory", one))
    rows = []
    for name, one in found["summary"].items():
        seeds = dict.fromkeys(one[model]["image_auroc"]["seeds"] for model in models if model in one)
        counts = [", ".join(map(str, seeds))] if spread else []
        rows.append([SETS[name], *counts, *(over_seeds(one.get(model), spread=spread) for model in models)])
    head = ["images", "seeds"] if spread else ["images"]
    return markdown([*head, *("edgead" if one == "memory" else one for one in models)], rows)


def seeds_table(found: dict[str, Any]) -> str:
    return comparison_table(found, spread=True)


def over_seeds(figures: dict[str, Any] | None, *, spread: bool) -> str:
    """Mean image AUROC (and AUPRO) and, of several seeds, with `spread` their standard deviation."""
    if figures is None:
        return ""
    entries = (figures[name] for name in ("image_auroc", "aupro") if name in figures)
    return " / ".join(
        f"{one['mean']:.3f}" + ("" if one["spread"] is None or not spread else f" ± {one['spread']:.3f}")
        for one in entries
    )


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


def shadow_table(found: dict[str, Any]) -> str:
    """Latency of verdicts without a shadow and with one."""
    kinds = {"judging": "judging a frame", "age": "from capture to verdict"}
    rows = [
        [called, *(f"{found[side][kind][at]:.1f} ms" for at in ("p50", "p99") for side in ("alone", "shadow")),
         number(found["p99_cost"][kind], "+.1%")]
        for kind, called in kinds.items()
    ]  # fmt: skip
    return markdown(["", "median alone", "with a shadow", "p99 alone", "with a shadow", "p99 costs"], rows)


TABLES: dict[str, tuple[tuple[str, ...], Callable[..., str]]] = {  # name -> results, what is made of them
    "stlm": (("accuracy-stlm",), accuracy_table),
    "ast_mfr": (("accuracy-ast_mfr",), accuracy_table),
    "peers": (("peers",), peers_table),
    "comparison": (("comparison",), comparison_table),
    "seeds": (("comparison",), seeds_table),
    "limit": (("limit",), limit_table),
    "precision": (("precision",), precision_table),
    "thresholds": (("thresholds",), thresholds_table),
    "plan": (("distributed",), plan_table),
    "builds": (("distributed",), builds_table),
    "review": (("review",), review_table),
    "shadow": (("shadow",), shadow_table),
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
