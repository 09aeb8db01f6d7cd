"""Measures how good a bundle is on labeled images, through the same detector that judges on the line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgead import Detector, Frame, Result
from edgead.errors import DataError
from edgead.images import read_image
from edgead.listing import LeftOut
from edgead.ops import upsample
from edgead_tools.data import Dataset, Sample, read_mask
from edgead_tools.data.layouts import LOCO_KINDS
from edgead_tools.data.loco import Saturation, read_defects, read_saturations
from edgead_tools.evaluation import metrics
from edgead_tools.evaluation.image_figures import Interval, KindFigures, image_figures


@dataclass(frozen=True, slots=True)
class Judged:
    """One labeled image and its scores."""

    path: str
    label: str  # "good" or the defect's name
    is_good: bool
    score: float  # calibrated; above 1.0 is NG
    raw_score: float
    refused: bool
    milliseconds: float  # from frame to result


@dataclass(frozen=True, slots=True)
class Kind:
    """The figures of one kind of defect, of its images and all good ones; None where the data cannot give a figure."""

    name: str
    images: int
    missed: int
    miss_rate: float
    miss_interval: Interval
    image_auroc: float | None
    image_auroc_interval: Interval | None
    pixel_auroc: float | None
    aupro: float | None
    au_spro: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one bundle on one data set; None where the data cannot give a figure."""

    judged: tuple[Judged, ...]
    left_out: tuple[LeftOut, ...]
    kinds: tuple[Kind, ...]
    image_auroc: float | None  # of MVTec LOCO, the mean over logical and structural anomalies
    image_auroc_interval: Interval | None
    average_precision: float | None
    f1: float | None  # at the shipped threshold
    f1_max: float | None  # at the best threshold for these very images: an oracle's
    f1_max_score: float | None  # the calibrated score from which on that threshold calls a part NG
    pixel_auroc: float | None
    aupro: float | None  # up to a false-positive rate of 30 %
    au_spro: float | None  # up to 5 %; MVTec LOCO's, at the images' size; the mean over logical and structural
    false_alarm_rate: float | None  # share of good images above the shipped threshold
    miss_rate: float | None  # share of defective images at or below it
    latency_ms: float  # median from frame to result, batch 1
    engine: str
    precision: str
    resolution: str  # of pixel AUROC and AUPRO: "network" or "image"

    def to_dict(self) -> dict[str, Any]:
        """The figures under their published names, for JSON."""
        return {
            "image_auroc": self.image_auroc,
            "image_auroc_interval": self.image_auroc_interval,
            "pixel_auroc": self.pixel_auroc,
            "aupro": self.aupro,
            "au_spro": self.au_spro,
            "false_alarm_rate": self.false_alarm_rate,
            "false_alarm_interval": self.interval(good=True),
            "miss_rate": self.miss_rate,
            "miss_interval": self.interval(good=False),
            "latency_ms": self.latency_ms,
            "average_precision": self.average_precision,
            "f1": self.f1,
            "f1_max": self.f1_max,
            "f1_max_score": self.f1_max_score,
            "good": sum(one.is_good for one in self.judged),
            "defective": sum(not one.is_good for one in self.judged),
            "left_out": len(self.left_out),
            "engine": self.engine,
            "precision": self.precision,
            "resolution": self.resolution,
        }

    def details(self) -> dict[str, Any]:
        """What `to_dict` sums up: the kinds of defect, and every file that was left out."""
        return {
            "kinds": [asdict(kind) for kind in self.kinds],
            "files_left_out": [{"path": str(one.path), "reason": one.reason} for one in self.left_out],
        }

    def interval(self, *, good: bool) -> Interval | None:
        """95 % interval of the false-alarm rate (of the good images) or the miss rate (of the defective)."""
        wrong = [one.refused is good for one in self.judged if one.is_good is good]
        return metrics.rate_interval(sum(wrong), len(wrong)) if wrong else None


def evaluate(
    detector: Detector,
    dataset: Dataset,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    full_size: bool = False,
) -> Evaluation:
    """Judge every test image and compute the metrics of the evaluation specification.

    Image metrics use the raw score. Pixel AUROC and AUPRO are taken at network resolution: the fused map interpolated
    to the input size against masks resized bilinearly and cut at 0.5; with `full_size` at the size of each image, as
    MVTec's own evaluation has it. They are None unless every defective image has a mask. A file that cannot be read is
    left out and named. Raises DataError for no samples, or none that can be read.
    """
    if not dataset.test:
        raise DataError("there are no test images: put some into test/good and test/<defect>")
    pixels = _Pixels(detector, dataset, full_size=full_size)
    judged, left_out = [], []
    for index, sample in enumerate(dataset.test):
        try:
            image = read_image(sample.path, bits=detector.bundle.manifest.input.bits)
        except DataError as error:
            left_out.append(LeftOut(sample.path, str(error)))
        else:
            result = detector.detect(Frame(image, index, str(sample.path)))
            judged.append(_judged(sample, result))
            try:
                pixels.add(sample, result)
            except DataError as error:
                left_out.append(LeftOut(sample.path, f"its mask is not used: {error}"))
        on_progress(index + 1, len(dataset.test))
    if not judged:
        raise DataError(f"none of the {len(left_out)} test images could be read: {left_out[0].reason}")
    return _figures(detector, tuple(judged), tuple(left_out), pixels, is_loco=dataset.layout == "loco")


def _judged(sample: Sample, result: Result) -> Judged:
    if not np.isfinite(result.raw_score):
        raise DataError(f"the score of {sample.path} is not a finite number: the network is damaged, build it again")
    return Judged(
        path=str(sample.path),
        label=sample.label,
        is_good=sample.is_good,
        score=result.score,
        raw_score=result.raw_score,
        refused=result.is_anomalous,
        milliseconds=result.timings.total,
    )


@dataclass(slots=True)
class _Pixels:
    """The pixel scores of a test side: at one resolution, and those of MVTec LOCO at the images' own."""

    detector: Detector
    dataset: Dataset
    full_size: bool
    scores: metrics.PixelScores | None = field(init=False)
    saturated: metrics.PixelScores | None = field(init=False)
    saturations: dict[int, Saturation] = field(init=False)

    def __post_init__(self) -> None:
        masked, is_loco = self.dataset.has_masks, self.dataset.layout == "loco"
        self.saturations = read_saturations(self.dataset.root) if masked and is_loco else {}
        self.scores = metrics.PixelScores() if masked else None
        self.saturated = metrics.PixelScores() if self.saturations else None

    def add(self, sample: Sample, result: Result) -> None:
        """Take in one image; raises DataError, and then takes none of it."""
        if self.scores is None:
            return
        spec, kind = self.detector.bundle.manifest.input, None if sample.is_good else sample.label
        size = result.frame_size if self.full_size else spec.frame
        mask = read_mask(sample, *size)
        if self.saturated is not None:
            full_map = upsample(result.grid_map, *result.frame_size)
            defects = read_defects(sample, self.saturations)
            union = np.zeros(full_map.shape, np.bool_)
            for one, _ in defects:
                if one.shape != union.shape:
                    raise DataError(f"a mask of {sample.path} has another size than the image")
                union |= one
            self.saturated.add(full_map, union, kind, metrics.saturated_weights(full_map, defects))
        self.scores.add(upsample(result.grid_map, *size), mask, kind)

    def auroc(self, kinds: Sequence[str]) -> float | None:
        return _area(self.scores, kinds, lambda curve: curve.auroc())

    def aupro(self, kinds: Sequence[str]) -> float | None:
        return _area(self.scores, kinds, lambda curve: curve.area(metrics.FPR_LIMIT))

    def au_spro(self, kind: str) -> float | None:
        return _area(self.saturated, [kind], lambda curve: curve.area(metrics.SPRO_LIMIT))


def _area(
    scores: metrics.PixelScores | None, kinds: Sequence[str], read: Callable[[metrics.Curve], float]
) -> float | None:
    """A reading of the curve of those kinds; None where none of their images has a pixel of a defect."""
    if scores is None or not scores.has_both(kinds):
        return None
    return read(scores.curve(kinds))


def _figures(
    detector: Detector, judged: tuple[Judged, ...], left_out: tuple[LeftOut, ...], pixels: _Pixels, *, is_loco: bool
) -> Evaluation:
    names = sorted({one.label for one in judged if not one.is_good})
    found = image_figures(
        names,
        np.array([0 if one.is_good else 1 + names.index(one.label) for one in judged]),
        np.array([one.raw_score for one in judged]),
        np.array([one.refused for one in judged]),
        averaged=is_loco and LOCO_KINDS.issuperset(names),  # MVTec LOCO's own protocol
    )
    kinds = tuple(_kind(kind, pixels) for kind in found.kinds)
    return Evaluation(
        judged=judged,
        left_out=left_out,
        kinds=kinds,
        image_auroc=found.image_auroc,
        image_auroc_interval=found.image_auroc_interval,
        average_precision=found.average_precision,
        f1=found.f1,
        f1_max=found.f1_max,
        f1_max_score=_calibrated(found.f1_max_from, judged),
        pixel_auroc=pixels.auroc(names),
        aupro=pixels.aupro(names),
        au_spro=metrics.mean_of([kind.au_spro for kind in kinds]),
        false_alarm_rate=found.false_alarm_rate,
        miss_rate=found.miss_rate,
        latency_ms=float(np.median([one.milliseconds for one in judged])),
        engine=detector.engine.name,
        precision=detector.engine.precision,
        resolution="image" if pixels.full_size else "network",
    )


def _calibrated(raw: float | None, judged: Sequence[Judged]) -> float | None:
    """The calibrated score of the images whose raw score is that, or the next higher one."""
    return None if raw is None else min(one.score for one in judged if one.raw_score >= raw)


def _kind(found: KindFigures, pixels: _Pixels) -> Kind:
    return Kind(
        name=found.name,
        images=found.images,
        missed=found.missed,
        miss_rate=found.miss_rate,
        miss_interval=found.miss_interval,
        image_auroc=found.image_auroc,
        image_auroc_interval=found.image_auroc_interval,
        pixel_auroc=pixels.auroc([found.name]),
        aupro=pixels.aupro([found.name]),
        au_spro=pixels.au_spro(found.name),
    )
