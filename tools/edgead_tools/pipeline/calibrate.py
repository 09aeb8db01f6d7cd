"""Fits to good images what needs the network: thresholds, golden frames, the size of defect that is found, health."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgead.bundle.draft import BundleDraft
from edgead.config import BuildConfig
from edgead.progress import Reporter
from edgead.reader import Reader
from edgead_calibration.health import fit_profile, spread_out
from edgead_tools.methods import Trained
from edgead_tools.pipeline.detection import measure_detection
from edgead_tools.pipeline.golden import ANOMALY, GOLDEN, make_golden
from edgead_tools.pipeline.good_scores import GoodScores, collect_good_scores, maps_out_of_fold
from edgead_tools.pipeline.images import BuildImages
from edgead_tools.pipeline.outliers import outlier_records

REFERENCE = "onnx"  # the engine FP32's thresholds and golden maps are read through, whatever else is installed


def calibrate(
    config: BuildConfig, draft: BundleDraft, images: BuildImages, trained: Trained, reporter: Reporter
) -> GoodScores:
    """Give the draft its thresholds, golden frames and probability of detection, all read through the engine, and its
    health profile. Gives the scores that the thresholds rest on, with the outliers' maps."""
    with Reader(draft, REFERENCE, threads=config.threads) as reader:
        with reporter.stage("fitting thresholds") as on_progress:
            good = collect_good_scores(reader, trained, images, on_progress)
        thresholds = good.thresholds(config.false_alarm_rate)
        frames, golden = make_golden(reader, map(images.frame, images.parts.held_out[:GOLDEN]), thresholds)
        with reporter.stage("planting defects") as on_progress:
            draft.detection = measure_detection(reader, images, thresholds.image, config.seed, on_progress)
    draft.fit(thresholds, good.scores, good.maxima, good.margin, good.parts)
    draft.add_golden(frames, golden.maps, golden.scores, golden.tolerance, (ANOMALY,))
    draft.health = fit_profile(images.stats([images.good[index] for index in spread_out(len(images.good))]))
    outliers = outlier_records(good)
    draft.provenance["outliers"] = outliers
    raw = maps_out_of_fold(draft, trained, images.learned, {one["image"] for one in outliers})
    center, limit = thresholds.pixel_center, thresholds.pixel
    return replace(
        good, maps={name: (one - np.float32(center)) / np.float32(limit - center) for name, one in raw.items()}
    )
