"""Measures the figures of the documentation anew, or writes into it what was measured last.

    python benchmarks/reproduce.py measure DATA_FOLDER --keep FOLDER    run every benchmark, then write the tables
    python benchmarks/reproduce.py tables [--check]                     write the tables from the results alone

Results are of one machine and lie in its folder, benchmarks/results/MACHINE (`--machine`). The folder of data sets has
the sets that `tables.py` names; bundles, networks and the peers' environment stay in `--keep`, and what is there is not
made again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tables import MACHINE, PAGES, RESULTS, SETS, result, written

HERE = Path(__file__).parent
ROOT = HERE.parent
CURVES = ("curve-stlm", "curve-memory")  # whose pictures docs/images has
LARGE = ("bottle", "casting", "dice", "elpv", "magnetic_tile")  # of 200 good images and more
SMALL = ("aliens", "screw_presence", "glass_fibre", "cubes", "bottle")  # the peers' sets
CURVE = ("aliens", "glass_fibre")
MEMORIES = ("casting", "glass_fibre")
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
        ["curve.py", *sets(*MEMORIES), "--vary", "memory", "--keep", str(keep / "curve"), *out("curve-memory")],
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
        [
            "detection.py",
            *(f"{limits / Path(one).name}-0.edgead={one}" for one in sets("bottle", "magnetic_tile")),
            *out("detection"),
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
    for name in CURVES:
        shutil.copyfile(Path(result(name)).with_suffix(".svg"), ROOT / f"docs/images/{name}.svg")


if __name__ == "__main__":
    main()
