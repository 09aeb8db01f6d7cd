"""The process in which a shadow judges: one thread that runs while nobody else wants to, and is first to go for memory.

    python -m edgead.stream.shadow.process MEMORY

MEMORY is the number of the open file that frames come in. Standard input has the settings and then a line for each
frame, standard output a line when it is ready and one for each frame it has judged. It ends with its input.
"""

from __future__ import annotations

import math
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgead import ops
from edgead.detector import Detector
from edgead.result import Result
from edgead.stream.roi import RoiMask, recorded_mask
from edgead.stream.shadow.record import Recorder, figures_of
from edgead.types import Frame, Region, Timings, Verdict


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is told once."""

    bundle: str
    line: str  # digest of the bundle that the line judges with
    engine: str = "auto"
    precision: str = "auto"
    device: int = 0
    idle: bool = True  # whether to judge only while nobody else wants the processor


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One frame, and what the line found in it; the pixels and the map lie in the shared memory, in this order."""

    shape: tuple[int, int]
    grid: tuple[int, int]
    camera: str
    index: int
    name: str
    time: float
    rules: ops.Rules  # in force
    areas: dict[str, list[str]] | None  # in force, as `RoiMask.areas` has them
    skipped: int  # frames left out since the last one
    verdict: Verdict
    score: float | None
    latency_ms: float
    regions: tuple[tuple[int, int, int, int, float], ...]


def task_of(frame: Frame, result: Result, skipped: int) -> Task:
    """What the shadow is told of a frame and the line's result."""
    height, width = frame.image.shape[:2]
    rows, columns = result.grid_map.shape
    return Task(
        shape=(height, width),
        grid=(rows, columns),
        camera=result.camera,
        index=frame.index,
        name=frame.name,
        time=frame.time,
        rules=result.rules or ops.Rules(),
        areas=result.extra.get("areas"),
        skipped=skipped,
        verdict=result.judged or result.verdict,
        score=result.score if math.isfinite(result.score) else None,
        latency_ms=result.timings.total,
        regions=tuple((one.x, one.y, one.width, one.height, one.score) for one in result.regions),
    )


class ShadowJudge:
    """Judges what comes, and records how it compares."""

    def __init__(self, settings: Settings, memory: int) -> None:
        self._memory = memory
        self.detector = Detector(
            settings.bundle, engine=settings.engine, precision=settings.precision, threads=1, device=settings.device
        )
        self._masks: dict[str, tuple[object, RoiMask | None]] = {}  # camera -> areas and what they make
        self.record = Recorder.open(Path(settings.bundle), settings.line, self.detector.bundle.digest)

    def judge(self, task: Task) -> dict[str, Any]:
        """Judge a frame and give what the line is told of it."""
        frame, line = self._read(task)
        self.detector.rules = task.rules
        if self._masks.get(task.camera, (None, None))[0] != task.areas:
            self._masks[task.camera] = task.areas, recorded_mask(task.areas)
        roi_mask, fusion = self._masks.get(task.camera, (None, None))[1], self.detector.bundle.manifest.fusion
        place = task.shape, (fusion.height, fusion.width)
        masks, rules = ([], []) if roi_mask is None else ([roi_mask.cells(*place)], [roi_mask.rules(*place)])
        (result,) = self.detector.detect_many([frame], masks, rules)
        agrees = self.record.add(frame, line, result, task.skipped)
        return dict(figures_of(self.record.summary, agrees=agrees, verdict=str(result.verdict), score=result.score))

    def _read(self, task: Task) -> tuple[Frame, Result]:
        """The frame, and the line's result of it, as far as it is compared and drawn."""
        pixels = 3 * math.prod(task.shape)
        raw = os.pread(self._memory, pixels + 4 * math.prod(task.grid), 0)
        image = np.frombuffer(raw, np.uint8, pixels).reshape(*task.shape, 3)
        grid = np.frombuffer(raw, np.float32, offset=pixels).reshape(task.grid)
        score = math.nan if task.score is None else task.score
        line = Result(
            verdict=task.verdict,
            score=score,
            raw_score=score,
            threshold=task.rules.threshold,
            regions=tuple(Region(*region) for region in task.regions),
            grid_map=grid,
            frame_size=task.shape,
            timings=Timings(0.0, task.latency_ms, 0.0),
            engine="",
            precision="",
            model=self.record.summary.line[:12],
            index=task.index,
            camera=task.camera,
        )
        return Frame(image, task.index, task.name, task.time, task.camera), line


def main(memory: int) -> None:
    """Judge until the input ends. With `idle`, also loading takes only what is left over of the processor."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    lines = iter(sys.stdin.buffer.readline, b"")
    settings = msgspec.json.decode(next(lines), type=Settings)
    if settings.idle:  # before the engine starts its threads, which inherit it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    judge = ShadowJudge(settings, memory)
    _say(figures_of(judge.record.summary))
    for line in lines:
        _say(judge.judge(msgspec.json.decode(line, type=Task)))
    judge.record.write()


def _say(words: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(words) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
