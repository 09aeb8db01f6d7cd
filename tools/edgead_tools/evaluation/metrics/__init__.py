"""Computes metrics over a whole test set. Higher scores are stranger; label True is anomalous."""

from edgead_tools.evaluation.metrics.curve import Best, Curve, average_precision, f1_max, image_auroc
from edgead_tools.evaluation.metrics.intervals import Auroc, auroc_interval, mean_of, rate_interval
from edgead_tools.evaluation.metrics.pixels import (
    FPR_LIMIT,
    SPRO_LIMIT,
    PixelScores,
    aupro,
    pixel_auroc,
    region_weights,
    saturated_weights,
)

__all__ = [
    "FPR_LIMIT",
    "SPRO_LIMIT",
    "Auroc",
    "Best",
    "Curve",
    "PixelScores",
    "aupro",
    "auroc_interval",
    "average_precision",
    "f1_max",
    "image_auroc",
    "mean_of",
    "pixel_auroc",
    "rate_interval",
    "region_weights",
    "saturated_weights",
]
