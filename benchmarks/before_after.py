"""Compares two versions of edgead: starting up, and what surrounds the network on one frame.

    python benchmarks/before_after.py BUNDLE --before PYTHON --after PYTHON [--out FILE]

PYTHON is the interpreter of an environment in which that version is installed, and BUNDLE one that both can open.
Every round measures both, one after the other, so that ratios hold on a busy machine; figures are the smallest and the
median of all rounds. Times are CPU time, of the whole process where nothing else is said:

- `import` and `help`: `import edgead` and `edgead --help`, less a bare interpreter;
- `detector`: a frame of 1920 x 1080 through `Detector`, less the same network alone, of this thread;
- `pipeline`: a frame through `edgead run` (source, queue, inference, a file of results) of a folder, as the difference
  of two runs of different length.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from edgead.system.device import describe_device

SHORT, LONG = 8, 40  # frames of the two runs
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
DETECTOR = """
import json, sys, time
import cv2, numpy as np
from edgead import Detector, Frame
from edgead.ops import to_input

cv2.setNumThreads(1)
frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
with Detector(sys.argv[1], engine="onnx", threads=1) as detector:
    tensor = to_input(frame, detector.bundle.manifest.input)[np.newaxis]
    session = detector.engine._session
    names = [part.name for part in detector.bundle.manifest.fusion.maps]
    calls = (lambda: session.run(names, {"image": tensor}), lambda: detector.detect(Frame(frame)))
    spent = []
    for _ in range(int(sys.argv[2])):
        for call in calls:
            start = time.thread_time()
            call()
            spent.append(1e3 * (time.thread_time() - start))
over = np.array(spent[1::2]) - np.array(spent[::2])
print(json.dumps([float(np.median(over)), float(np.median(spent[::2]))]))
"""


def cpu_seconds(command: Sequence[str | Path]) -> float:
    """The CPU time of a command and all that it starts, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=os.environ | THREADS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(python: Path, bundle: Path, frames: Path, rounds: int) -> dict[str, float]:
    """One round of one version, in milliseconds."""
    bare = cpu_seconds([python, "-c", "pass"])
    found = {
        "import": 1e3 * (cpu_seconds([python, "-c", "import edgead"]) - bare),
        "help": 1e3 * (cpu_seconds([python, "-m", "edgead", "--help"]) - bare),
    }
    done = subprocess.run(
        [python, "-c", DETECTOR, bundle, str(rounds)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | THREADS,
    )
    found["detector"], found["engine"] = json.loads(done.stdout)
    runs = []
    for limit in (SHORT, LONG):
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as results:
            command = [python, "-m", "edgead", "run", "--bundle", bundle, "--source", frames, "--limit", str(limit)]
            command += ["--engine", "onnx", "--threads", "1", "--jsonl", results.name]
            runs.append(cpu_seconds(command))
    found["pipeline"] = 1e3 * (runs[1] - runs[0]) / (LONG - SHORT)
    return found


def write_frames(folder: Path) -> None:
    """Pictures of 1920 x 1080 for a source."""
    random = np.random.default_rng(0)
    for number in range(LONG):
        small = random.integers(0, 256, (135, 240, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), cv2.resize(small, (1920, 1080)))


def compare(versions: dict[str, Path], bundle: Path, rounds: int, calls: int) -> dict[str, Any]:
    """The figures of all versions, by turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder))
        for _ in range(rounds):
            for name, python in versions.items():
                found[name].append(measure(python, bundle, Path(folder), calls))
    kinds = list(found["before"][0])
    return {
        "rounds": rounds,
        "ms": {
            kind: {
                name: {
                    "least": round(min(one[kind] for one in all_), 3),
                    "median": round(median(one[kind] for one in all_), 3),
                }
                for name, all_ in found.items()
            }
            for kind in kinds
        },
        "device": describe_device(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=100, help="frames of `detector` in a round")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    text = json.dumps(
        compare({"before": given.before, "after": given.after}, given.bundle, given.rounds, given.calls), indent=1
    )
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
