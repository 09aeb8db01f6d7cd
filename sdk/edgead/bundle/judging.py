"""Checks that a bundle can say NG at all: one that never could would pass every part, and is refused when opened.

Digests notice a change after the build, and golden frames an engine that measures otherwise. What is left are numbers
with which a faultless engine judges nothing: an input or a map times 0, a threshold that no score reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import Artifact, FusionSpec, Manifest, Thresholds
from edgead.errors import BundleError

LARGEST = 1e30  # of a threshold: maps are FP32, and sums of what they hold must stay finite
SCALES = (1e-6, 1e3)  # of an input's channel, for pixels of 0..255
OFFSET = 1e5  # of the same
FARTHEST = 1000.0  # of a threshold from its center, times the largest score or map value of good images


def check_can_judge(manifest: Manifest) -> None:
    """Raise BundleError where some network of the bundle could never call a part NG."""
    faults = [*_of_input(manifest.input), *_of_fusion(manifest.fusion)]
    for artifact in manifest.artifacts:
        faults += [f"{artifact.precision}: {fault}" for fault in _of_artifact(manifest, artifact)]
    if faults:
        raise BundleError(f"it could pass bad parts: {'; '.join(faults)}; build or calibrate it again")


def _of_input(spec: InputSpec) -> list[str]:
    low, high = SCALES
    blind = [scale for scale in spec.scale if not low <= abs(scale) <= high]
    beyond = [offset for offset in spec.offset if not abs(offset) <= OFFSET]
    return [f"its input's scale is {scale:g}" for scale in blind] + [f"its offset is {one:g}" for one in beyond]


def _of_fusion(spec: FusionSpec) -> list[str]:
    faults = []
    for part in spec.maps:
        if not 0 < abs(part.weight * part.scale) < LARGEST:
            faults.append(f"map '{part.name}' counts {part.weight * part.scale:g} times")
        if not abs(part.weight * part.offset) < LARGEST:
            faults.append(f"the offset of map '{part.name}' is {part.offset:g}")
    return faults


def _of_artifact(manifest: Manifest, artifact: Artifact) -> list[str]:
    thresholds = artifact.thresholds
    faults = [
        *_of_threshold("image", thresholds.image_center, thresholds.image, artifact.good_scores),
        *_of_threshold("pixel", thresholds.pixel_center, thresholds.pixel, artifact.good_maxima),
    ]
    return [*faults, *(f"planted anomaly '{name}' is not NG" for name in passed(manifest, artifact, thresholds))]


def _of_threshold(what: str, center: float, threshold: float, good: Sequence[float]) -> list[str]:
    if not max(abs(threshold), abs(center)) < LARGEST:
        return [f"the {what} threshold is {threshold:g}"]
    largest = max((abs(value) for value in (*good, center)), default=0.0)
    if good and 0 < FARTHEST * largest < threshold - center:
        return [f"the {what} threshold is {threshold:g} and good images had {largest:g}"]
    return []


def passed(manifest: Manifest, artifact: Artifact, thresholds: Thresholds) -> list[str]:
    """The golden frames with a planted anomaly that `artifact`, with these thresholds, would not call NG."""
    scores = dict(zip(manifest.golden_frames, artifact.golden_scores, strict=False))
    return [name for name in manifest.golden_anomalies if not scores.get(name, -LARGEST) > thresholds.image]
