"""How good a bundle is on labelled images, through the same detector that judges on the line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgead import Detector, Frame
from edgead.errors import DataError
from edgead.images import read_image
from edgead.ops import upsample
from edgead_tools import metrics
from edgead_tools.data import Dataset, read_mask


@dataclass(frozen=True, slots=True)
class Judged:
    """One labelled image and its scores."""

    path: str
    label: str  # "good" or the defect's name
    is_good: bool
    score: float  # calibrated; above 1.0 is NG
    raw_score: float
    refused: bool
    milliseconds: float  # from frame to result


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one bundle on one data set; None where the data cannot give a figure."""

    judged: tuple[Judged, ...]
    image_auroc: float | None
    average_precision: float | None
    f1: float | None  # at the shipped threshold
    f1_max: float | None  # at the best threshold for these very images: an oracle's
    pixel_auroc: float | None
    aupro: float | None
    false_alarm_rate: float | None  # share of good images above the shipped threshold
    miss_rate: float | None  # share of defective images at or below it
    latency_ms: float  # median from frame to result, batch 1
    engine: str
    precision: str

    def to_dict(self) -> dict[str, Any]:
        """The figures under their published names, for JSON."""
        return {
            "image_auroc": self.image_auroc,
            "pixel_auroc": self.pixel_auroc,
            "aupro": self.aupro,
            "false_alarm_rate": self.false_alarm_rate,
            "false_alarm_interval": self.interval(good=True),
            "miss_rate": self.miss_rate,
            "miss_interval": self.interval(good=False),
            "latency_ms": self.latency_ms,
            "average_precision": self.average_precision,
            "f1": self.f1,
            "f1_max": self.f1_max,
            "good": sum(one.is_good for one in self.judged),
            "defective": sum(not one.is_good for one in self.judged),
            "engine": self.engine,
            "precision": self.precision,
        }

    def interval(self, *, good: bool) -> tuple[float, float] | None:
        """95 % interval of the false-alarm rate (of the good images) or the miss rate (of the defective)."""
        wrong = [one.refused is good for one in self.judged if one.is_good is good]
        return metrics.rate_interval(sum(wrong), len(wrong)) if wrong else None


def evaluate(
    detector: Detector, dataset: Dataset, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Evaluation:
    """Judge every test image and compute the metrics of the evaluation specification.

    Image metrics use the raw score. Pixel metrics are taken at network resolution: the fused map interpolated
    to the input size against masks resized bilinearly and cut at 0.5; they are None unless every defective image
    has a mask. Raises DataError for no samples or an unreadable one.
    """
    samples = dataset.test
    if not samples:
        raise DataError("there are no test images: the data set needs test/good and test/<defect> folders")
    spec = detector.bundle.manifest.input
    pixels = metrics.PixelScores() if dataset.has_masks else None
    judged = []
    for index, sample in enumerate(samples):
        image = read_image(sample.path, bits=spec.bits)
        result = detector.detect(Frame(image, index, str(sample.path)))
        judged.append(
            Judged(
                path=str(sample.path),
                label=sample.label,
                is_good=sample.is_good,
                score=result.score,
                raw_score=result.raw_score,
                refused=result.is_anomalous,
                milliseconds=result.timings.total,
            )
        )
        if pixels is not None:
            size = (spec.height, spec.width)
            pixels.add(upsample(result.grid_map, *size), read_mask(sample, *size))
        on_progress(index + 1, len(samples))
    labels = np.array([not one.is_good for one in judged])
    scores = np.array([one.raw_score for one in judged])
    refused = np.array([one.refused for one in judged])
    both = 0 < labels.sum() < len(labels)
    return Evaluation(
        judged=tuple(judged),
        image_auroc=metrics.image_auroc(scores, labels) if both else None,
        average_precision=metrics.average_precision(scores, labels) if both else None,
        f1=float(2 * (refused & labels).sum() / (refused.sum() + labels.sum())) if both else None,
        f1_max=metrics.f1_max(scores, labels).value if both else None,
        pixel_auroc=pixels.auroc() if pixels is not None else None,
        aupro=pixels.aupro() if pixels is not None else None,
        false_alarm_rate=float(refused[~labels].mean()) if (~labels).any() else None,
        miss_rate=float((~refused[labels]).mean()) if labels.any() else None,
        latency_ms=float(np.median([one.milliseconds for one in judged])),
        engine=detector.engine.name,
        precision=detector.engine.precision,
    )
