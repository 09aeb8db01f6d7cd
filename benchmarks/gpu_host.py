"""What a frame costs the host on the GPU's path, on a driver that does nothing: edgead's own work, and the copy.

    python benchmarks/gpu_host.py [--out FILE]

A 1080p frame goes through the TensorRT engine as on a GPU, batch by batch, on the driver and the TensorRT that the
tests bring, once graphs are recorded; the driver then does nothing of what it is asked for. `host_us` is a
frame's share of the median time of a batch without the copies into pinned memory, which are measured by themselves
(`copy_us`); `pooled` is the same of frames in a camera's memory, which are not copied.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest

from edgead import Bundle
from edgead.engines import load_engine
from edgead.frame_pool import FramePool
from edgead.system.device import describe_device

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
import emulated
import tiny

BATCHES = (1, 8)
FRAME = (1080, 1920)


class Nowhere:
    """Takes a copy's place in the pinned memory."""

    def __setitem__(self, place: object, image: object) -> None:
        pass


def copied(places: list[np.ndarray], frames: list[np.ndarray]) -> None:
    for place, frame in zip(places, frames, strict=True):
        place[...] = frame


def median_us(work: Callable[[], object], rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        spent.append(1e6 * (time.perf_counter() - start))
    return float(np.median(spent))


def counted(emulator: emulated.Emulator, work: Callable[[], object], rounds: int, batch: int) -> dict[str, Any]:
    """A frame's share of the host's time, and the calls of the driver a batch, while graphs do nothing."""
    emulator.driver.emulator_idle(1)
    calls = emulator.driver.emulator_calls()
    spent = median_us(work, rounds)
    calls = (emulator.driver.emulator_calls() - calls) // rounds
    emulator.driver.emulator_idle(0)
    return {"host_us": round(spent / batch, 1), "driver_calls": calls}


def measure(folder: Path, rounds: int, frame: tuple[int, int] = FRAME) -> dict[str, Any]:
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.setenv("EDGEAD_CACHE", str(folder / "cache"))
        emulator = emulated.Emulator(folder)
        stack.enter_context(emulator.installed(monkeypatch))
        stack.enter_context(emulated.tensorrt(monkeypatch))
        tiny.write_tiny(folder / "tiny.edgead")
        bundle = Bundle.open(folder / "tiny.edgead")
        artifacts = tuple(msgspec.structs.replace(one, batches=BATCHES) for one in bundle.manifest.artifacts)
        manifest = msgspec.structs.replace(bundle.manifest, artifacts=artifacts)
        engine = load_engine(Bundle(manifest, bundle.members(), bundle.digest, None), "tensorrt")
        stack.callback(engine.close)
        found = {}
        for batch in BATCHES:
            frames = [np.full((*frame, 3), index, np.uint8) for index in range(batch)]
            for _ in range(2):
                engine.infer(frames)  # as it is, and recorded
            places = engine._batches._slots[0].frames._staged.places  # type: ignore[attr-defined]
            copy = median_us(lambda places=places, frames=frames: copied(places, frames), max(10, rounds // 10))
            places[:] = [Nowhere()] * batch
            staged = counted(emulator, lambda frames=frames: engine.infer(frames), rounds, batch)
            pool = FramePool()
            lent = [pool.empty(frame.shape) for frame in frames]
            copied(lent, frames)
            for _ in range(2):
                engine.infer(lent)
            pooled = counted(emulator, lambda lent=lent: engine.infer(lent), rounds, batch)
            found[str(batch)] = staged | {"copy_us": round(copy / batch, 1), "pooled": pooled}
    return {"frame": list(frame), "rounds": rounds, "batches": found, "device": describe_device()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with TemporaryDirectory() as folder:
        text = json.dumps(measure(Path(folder), given.rounds), indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
