"""Computes the figures of whole images from their labels, scores and verdicts, of a dozen images or of millions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead_tools.evaluation import metrics

Interval = tuple[float, float]  # 95 %


@dataclass(frozen=True, slots=True)
class KindFigures:
    """The figures of one kind of defect, of its images and all good ones."""

    name: str
    images: int
    missed: int
    miss_rate: float
    miss_interval: Interval
    image_auroc: float | None  # None without good images
    image_auroc_interval: Interval | None


@dataclass(frozen=True, slots=True)
class ImageFigures:
    """The figures of a set of images; None where the set cannot give a figure."""

    good: int
    defective: int
    image_auroc: float | None
    image_auroc_interval: Interval | None
    average_precision: float | None
    f1: float | None  # at the shipped threshold
    f1_max: float | None  # at the best threshold for these very images: an oracle's
    f1_max_from: float | None  # the raw score from which on that threshold calls a part NG
    false_alarm_rate: float | None
    false_alarm_interval: Interval | None
    miss_rate: float | None
    miss_interval: Interval | None
    kinds: tuple[KindFigures, ...]


def image_figures(
    names: Sequence[str],
    kinds: NDArray[Any],
    scores: NDArray[np.floating[Any]],
    refused: NDArray[np.bool_],
    *,
    averaged: bool = False,
) -> ImageFigures:
    """The figures of images with raw `scores`, (N,) finite; `refused`, (N,), says which are NG.

    `kinds`, (N,) integers, is 0 for a good image and 1 and up for a defect of the kind `names[kind - 1]`. With
    `averaged` the image AUROC is the mean of those of the kinds, as MVTec LOCO has it.
    """
    bad = kinds > 0
    good_scores, alarms, missed = scores[~bad], refused[~bad], ~refused[bad]
    both = 0 < len(missed) < len(kinds)
    of_kinds = [_kind(name, scores[kinds == code], refused[kinds == code], good_scores)
                for code, name in enumerate(names, start=1) if (kinds == code).any()]  # fmt: skip
    groups = [scores[kinds == code] for code in range(1, len(names) + 1)] if averaged else [scores[bad]]
    auroc = metrics.auroc_interval(good_scores, *groups) if both else None
    best = metrics.f1_max(scores, bad) if both else None
    return ImageFigures(
        good=len(alarms),
        defective=len(missed),
        image_auroc=auroc.value if auroc else None,
        image_auroc_interval=(auroc.low, auroc.high) if auroc else None,
        average_precision=metrics.average_precision(scores, bad) if both else None,
        f1=float(2 * (~missed).sum() / (refused.sum() + len(missed))) if both else None,
        f1_max=best.value if best else None,
        f1_max_from=best.threshold if best else None,
        false_alarm_rate=float(alarms.mean()) if len(alarms) else None,
        false_alarm_interval=metrics.rate_interval(int(alarms.sum()), len(alarms)) if len(alarms) else None,
        miss_rate=float(missed.mean()) if len(missed) else None,
        miss_interval=metrics.rate_interval(int(missed.sum()), len(missed)) if len(missed) else None,
        kinds=tuple(of_kinds),
    )


def _kind(name: str, scores: NDArray[Any], refused: NDArray[np.bool_], good_scores: NDArray[Any]) -> KindFigures:
    missed = int((~refused).sum())
    auroc = metrics.auroc_interval(good_scores, scores) if len(good_scores) else None
    return KindFigures(
        name=name,
        images=len(scores),
        missed=missed,
        miss_rate=missed / len(scores),
        miss_interval=metrics.rate_interval(missed, len(scores)),
        image_auroc=auroc.value if auroc else None,
        image_auroc_interval=(auroc.low, auroc.high) if auroc else None,
    )
