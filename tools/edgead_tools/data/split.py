"""Splits good images into three sets without an image in common: for training, for ranges and for thresholds.

Images are ranked by a hash of the seed and their name, so the split is the same on every machine and with
every version of every library, and an image that is added moves few others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgead.errors import DataError, UsageError
from edgead_calibration.tails import MINIMUM as MINIMUM_SCORES
from edgead_tools.data.samples import Sample

# With 8 good images 4 are learned from, 1 sets INT8 ranges and 3 set the threshold. Fewer cannot fill the
# three sides with anything to speak of.
MINIMUM = 8
MOST_PARTS = 0.3  # of the parts that may be held out
LEAST_HELD_OUT = MINIMUM_SCORES  # without which there is no threshold


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
    parts: Mapping[Sample, int] | None = None,
) -> Split:
    """Divide good images; `calibration` and `held_out` are shares of all of them.

    Small sets give up more than their share: `held_out` gets up to 5 images but at most a quarter (5 of 20,
    10 of 100), and never fewer than 3, `calibration` up to 5 but at most an eighth, because a threshold rests on
    the first and little depends on the second. Samples that are in `validation` (MVTec LOCO brings them) never
    train: they are divided between the two in the ratio of the shares, and all others train. Fewer than 4 of them
    are treated like the rest. Where `parts` numbers the part that each sample shows, none that is learned from is
    held out too. Raises DataError for fewer than MINIMUM images, UsageError for impossible shares.
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
    held = max(round(count * held_out), min(5, count // 4), LEAST_HELD_OUT)
    ranges = min(max(round(count * calibration), min(5, count // 8)), max(1, count // 2 - held))
    aside_first = _whole_parts(ranked, held, parts) if parts else ranked[:held]
    rest = [sample for sample in ranked if sample not in set(aside_first)]
    return _sides(samples, aside_first, rest[:ranges])


def _whole_parts(ranked: Sequence[Sample], count: int, parts: Mapping[Sample, int]) -> Sequence[Sample]:
    """The first of the ranked samples with all others of their parts, `count` at least; parts of many frames stay out.

    Where nearly all samples show one part, or a material without structure, parts cannot be told apart: then it is
    the first `count`. So it is where more than `MOST_PARTS` of the parts would never be learned.
    """
    members: dict[int, list[Sample]] = {}
    for sample in ranked:
        members.setdefault(parts[sample], []).append(sample)
    taken: list[Sample] = []
    gone = 0
    for group in members.values():
        if len(taken) < count and len(group) <= count:
            taken += group
            gone += 1
    fits = count <= len(taken) < len(ranked) / 2 and gone <= max(1, MOST_PARTS * len(members))
    return taken if fits and len(members) >= MINIMUM else ranked[:count]


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
