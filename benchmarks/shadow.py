"""Measures what a shadow costs the line: latency of verdicts with and without one, run in turns.

    python benchmarks/shadow.py plates.edgead new.edgead --out benchmarks/results/<machine>/shadow.json

A synthetic camera gives frames at a rate that leaves the processor some rest; each run is of so many frames, with the
shadow and without it alternately, so that what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from edgead import DataError, Pipeline, Result, StationConfig
from edgead.stream.shadow.record import folder_of, newest_record, read_summary
from edgead.system.device import OtherWork, describe_device, describe_state


def latencies(
    bundle: Path, shadow: Path | None, source: str, frames: int, folder: Path
) -> tuple[list[float], list[float]]:
    """Milliseconds of judging and from capture to verdict, of every frame but the first ones."""
    found: list[Result] = []
    config = StationConfig(
        bundle=str(bundle), shadow=None if shadow is None else str(shadow), source=source, limit=frames, threads=1,
        health=False, audit=str(folder / "audit.jsonl"),
    )  # fmt: skip
    with Pipeline.from_config(config, on_result=found.append) as line:
        line.run()
    kept = found[min(20, len(found) // 4) :]
    return [one.timings.total for one in kept], [one.age for one in kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("shadow", type=Path)
    parser.add_argument("--source", default="synthetic:640x480@8,defects=10")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    shutil.rmtree(folder_of(given.shadow), ignore_errors=True)
    others = OtherWork()
    times: dict[str, dict[str, list[float]]] = {name: {"judging": [], "age": []} for name in ("alone", "shadow")}
    rounds: dict[str, list[float]] = {"alone": [], "shadow": []}
    folder = Path(tempfile.mkdtemp())
    turns = [("alone", None), ("shadow", given.shadow)] * given.rounds
    for name, shadow in turns:
        judging, age = latencies(given.bundle, shadow, given.source, given.frames, folder)
        times[name]["judging"] += judging
        times[name]["age"] += age
        rounds[name].append(round(float(np.percentile(age, 99)), 2))
    figures = {
        name: {
            kind: {f"p{at}": round(float(np.percentile(values, at)), 2) for at in (50, 95, 99)}
            | {"frames": len(values)}
            for kind, values in kinds.items()
        }
        for name, kinds in times.items()
    }
    shutil.rmtree(folder)
    try:
        summary = read_summary(newest_record(given.shadow))
        compared, left_out = summary.judged, summary.skipped
    except DataError:  # the machine had no time for it
        compared, left_out = 0, 0
    cost = {
        kind: round(figures["shadow"][kind]["p99"] / figures["alone"][kind]["p99"] - 1, 4)
        for kind in ("judging", "age")
    }
    told = {
        "source": given.source,
        **figures,
        "p99_cost": cost,
        "p99_of_age_by_round": rounds,
        "compared": compared,
        "left_out": left_out,
        "device": describe_device(),
        "state": describe_state(),
        "others": round(others.share(), 2),
    }
    text = json.dumps(told, indent=1) + "\n"
    if given.out is not None:
        given.out.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
