"""Who learns, who sets the ranges, who sets the threshold: three sides without an image in common.

Images are ranked by a hash of the seed and their name, so the split is the same on every machine and with
every version of every library, and an image that is added moves few others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from edgead.errors import DataError, UsageError
from edgead_tools.data.samples import Sample

# With 8 good images 5 are learned from, 1 sets INT8 ranges and 2 set the threshold. Fewer cannot fill the
# three sides with anything to speak of.
MINIMUM = 8


@dataclass(frozen=True, slots=True)
class Split:
    """Good images by their use, each in the order they were given."""

    train: tuple[Sample, ...]
    calibration: tuple[Sample, ...]  # for INT8 ranges
    held_out: tuple[Sample, ...]  # for thresholds and verification


def split(
    samples: Sequence[Sample],
    seed: int,
    *,
    calibration: float = 0.1,
    held_out: float = 0.1,
    validation: Collection[Sample] = (),
) -> Split:
    """Divide good images; `calibration` and `held_out` are shares of all of them.

    Small sets give up more than their share: `held_out` gets up to 5 images but at most a quarter (5 of 20,
    10 of 100), `calibration` up to 5 but at most an eighth, because a threshold rests on the first and little
    depends on the second. Samples that are in `validation` (MVTec LOCO brings them) never train: they are
    divided between the two in the ratio of the shares, and all others train. Fewer than 4 of them are treated
    like the rest. Raises DataError for fewer than MINIMUM images, UsageError for impossible shares.
    """
    if not (calibration > 0 and held_out > 0 and calibration + held_out <= 0.5):
        raise UsageError(f"calibration {calibration} and held_out {held_out} must be above 0 and at most 0.5 together")
    aside = set(validation) & set(samples)
    if len(aside) < 4:
        aside = set()
    learners = [sample for sample in samples if sample not in aside]
    if len(learners) < MINIMUM:
        raise DataError(f"there are {len(learners)} good images to learn from and at least {MINIMUM} are needed")
    if aside:
        ranked = _ranked(aside, seed)
        held = round(len(aside) * held_out / (calibration + held_out))
        held = min(max(held, 1), len(aside) - 1)
        return _sides(samples, ranked[:held], ranked[held:])
    ranked = _ranked(learners, seed)
    count = len(ranked)
    held = max(round(count * held_out), min(5, count // 4))
    ranges = max(round(count * calibration), min(5, count // 8))
    return _sides(samples, ranked[:held], ranked[held : held + ranges])


def _ranked(samples: Iterable[Sample], seed: int) -> list[Sample]:
    """`samples` in an order that only the seed and their names decide."""

    def rank(sample: Sample) -> tuple[bytes, str]:
        key = f"{seed}:{sample.name}".encode("utf-8", "surrogateescape")
        return hashlib.sha256(key).digest(), sample.name

    return sorted(samples, key=rank)


def _sides(samples: Sequence[Sample], held_out: Collection[Sample], calibration: Collection[Sample]) -> Split:
    held, ranges = set(held_out), set(calibration)
    return Split(
        tuple(sample for sample in samples if sample not in held and sample not in ranges),
        tuple(sample for sample in samples if sample in ranges),
        tuple(sample for sample in samples if sample in held),
    )
