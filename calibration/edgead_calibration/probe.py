"""Runs a candidate network as the line would, before it is in any bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import msgspec
import numpy as np

from edgead import Bundle, Detector
from edgead.bundle import Artifact
from edgead.bundle.store import list_members
from edgead.engines import is_here, load_engine
from edgead.engines.base import Engine
from edgead.engines.onnx import OnnxEngine
from edgead.types import ImageU8
from edgead_calibration.fp16 import in_fp32
from edgead_calibration.gate import Readings

SIMULATED = "simulated by onnxruntime"  # where the engine is another machine's
ON_CPU = ("onnx", "openvino")
PROBE = "probe.onnx"
WARM_UP = 3
TIMED = 20  # frames


@dataclass(frozen=True, slots=True, eq=False)
class ProbeFrames:
    """The images that candidate networks are compared on, (H, W, 3) BGR uint8."""

    calibration: Sequence[ImageU8]  # good ones, that set ranges and statistics
    good: Sequence[ImageU8]  # good ones that no other stage has seen
    anomalous: Sequence[ImageU8]

    def judged(self) -> list[ImageU8]:
        """What every network is compared on."""
        return [*self.good, *self.anomalous]

    def labels(self) -> np.ndarray:
        """Which of them are anomalous."""
        return np.arange(len(self.good) + len(self.anomalous)) >= len(self.good)


def open_probe(bundle: Bundle, network: bytes, like: Artifact, engine: str) -> Detector:
    """A detector that runs `network` in place of the bundle's, on `engine` or, where that is not here, a simulation.

    On one thread, so that sums are taken in one order and a busy machine measures the same network.
    """
    here = runs_here(bundle, engine)
    artifact = msgspec.structs.replace(like, member=PROBE, golden=(), golden_scores=(), engine="")
    members = bundle.members() | {PROBE: network if here else in_fp32(network)}
    names = {"golden_frames": (), "golden_anomalies": (), "members": list_members(members)}
    draft = Bundle(msgspec.structs.replace(bundle.manifest, artifacts=(artifact,), **names), members)
    runner: Engine = load_engine(draft, engine, threads=1) if here else OnnxEngine(draft, threads=1, unoptimized=True)
    return Detector(draft, engine=runner)


def runs_here(bundle: Bundle, engine: str) -> bool:
    """Whether candidates run on the engine itself.

    A GPU's is simulated, also where this machine has one: it is not the device, and each would build an engine.
    """
    return engine in ON_CPU and is_here(bundle, engine, "fp32")


def runtime(bundle: Bundle, engine: str) -> str:
    """What stands for the engine here, with its version."""
    if not runs_here(bundle, engine):
        return SIMULATED
    return f"{engine} {version({'onnx': 'onnxruntime'}.get(engine, engine))}"


def read(
    detector: Detector, frames: ProbeFrames, on_image: Callable[[int, int], None] = lambda done, total: None
) -> Readings:
    """What the detector measures on the frames that networks are compared on."""
    images = frames.judged()
    scores, maps = [], []
    for index, image in enumerate(images):
        reading = detector.read(image)
        scores.append(reading.score)
        maps.append(reading.anomaly_map)
        on_image(index + 1, len(images))
    return Readings(np.array(scores), np.stack(maps), frames.labels())


def milliseconds(detectors: Sequence[Detector], images: Sequence[ImageU8]) -> list[float]:
    """The median time of each detector's network on one frame, taken in turns, so that a busy spell hits all alike."""
    times: list[list[float]] = [[] for _ in detectors]
    for count in range(WARM_UP + TIMED):
        for taken, detector in zip(times, detectors, strict=True):
            spent = detector.read(images[count % len(images)]).infer_ms
            if count >= WARM_UP:
                taken.append(spent)
    return [float(np.median(taken)) for taken in times]
