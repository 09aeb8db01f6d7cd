"""Teaches the head that says of every picture where its part is, by proposals in good images.

The paper multiplies its map by a mask that SAM finds in each picture. Here masks are proposed for good images alone
(`components.foreground`), and the head gives that of any picture within the graph. It is taught by altered copies too
(`data.alterations`): what is wrong with a part lies on the part. Where proposals are not found in good images, fill the
picture, or are not what the head says of images that it was not taught by, there is no head, and a sentence says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgead.types import Mask
from edgead_calibration.images import evenly_spaced
from edgead_tools.components.foreground import propose
from edgead_tools.components.refine import refine
from edgead_tools.data.alterations import ALTERATIONS
from edgead_tools.layers.foreground_head import ForegroundHead
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.ast_mfr.feature_differences import StandardizedTaps
from edgead_tools.methods.lite import CHUNK, lite_tensor

STRIDE = 8  # pixels a cell
IMAGES = 60  # good images that teach it, at most
COPIES = 3  # altered ones of each
HELD = 5  # every such image is kept to judge the head by
FEWEST = 5  # images with proposals, below which nothing can be said
FOUND = 0.9  # least share of images with proposals
LARGEST = 0.9  # share of the picture that proposals may cover
AGREED = 0.8  # least overlap (intersection over union) of the head and the proposals, on average
STEPS, BATCH, RATE = 200, 8, 2e-3


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """A head, or why there is none."""

    head: ForegroundHead | None
    figures: str

    def finding(self) -> dict[str, str]:
        """What was found, from which figures, what was chosen, and how to overrule it."""
        told = self.head is not None
        return {
            "found": "the part is told from its ground" if told else "the part is not told from its ground reliably",
            "figures": self.figures,
            "chosen": "the students' maps count where each picture shows the part"
            if told
            else "the students' maps count everywhere",
            "overrule": "--set foreground=no" if told else "--mask FILE",
        }


def fit_foreground(taps: StandardizedTaps, images: TrainingImages, seed: int, device: str) -> Foreground:
    """Teach a head by proposals in good images, those to train on alone."""
    if images.tiles > 1:
        return Foreground(None, "frames are cut into tiles, which show a part of the part")
    good = np.stack([images.train[index] for index in evenly_spaced(range(len(images.train)), IMAGES)])
    masks = [_covered(refine(one)) for one in propose(taps.trunk, good, seed)]
    able = [index for index, mask in enumerate(masks) if mask.any()]
    found = f"masks are proposed in {len(able)} of {len(good)} good images"
    if len(able) < max(FEWEST, FOUND * len(good)):
        return Foreground(None, found)
    good, targets = good[able], np.stack([masks[index] for index in able])
    share = float(targets.mean())
    found += f" and cover {share:.0%} of them"
    if share > LARGEST:
        return Foreground(None, found)
    head, agreement = _teach(taps, good, targets, seed, device)
    found += f"; the head agrees with those it was not taught by to {agreement:.2f}, where {AGREED} is reliable"
    return Foreground(head if agreement >= AGREED else None, found)


def _covered(pieces: list[Mask]) -> NDArray[np.uint8]:
    """1 where a piece is, or what a piece surrounds."""
    covered = np.any(pieces, axis=0).astype(np.uint8) if pieces else np.zeros((1, 1), np.uint8)
    outlines, _ = cv2.findContours(covered, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(covered, outlines, -1, 1, cv2.FILLED), np.uint8)


def _teach(
    taps: StandardizedTaps, good: NDArray[np.uint8], masks: NDArray[np.uint8], seed: int, device: str
) -> tuple[ForegroundHead, float]:
    """The head, and its overlap with the masks (N, H, W) of the good images (N, H, W, 3) that it was not taught by."""
    random = np.random.default_rng(seed)
    count, held = len(good), np.arange(len(good)) % HELD == 0
    altered = [
        ALTERATIONS[int(random.integers(len(ALTERATIONS)))](good[index], good[random.integers(count)], random)
        for _ in range(COPIES)
        for index in range(count)
    ]
    seen = _taps_at_eighth(taps, np.concatenate([good, np.stack(altered)]), device)
    wider = functional.max_pool2d(torch.from_numpy(masks)[:, None].float(), 2 * STRIDE + 1, 1, STRIDE)
    target = functional.avg_pool2d(wider, STRIDE)[:, 0].repeat(1 + COPIES, 1, 1).to(device)
    taught = np.flatnonzero(~np.tile(held, 1 + COPIES))
    torch.manual_seed(seed)
    head = ForegroundHead(seen.shape[1]).to(device)
    optimizer = torch.optim.Adam(head.parameters(), RATE)
    for _ in range(STEPS):
        chosen = torch.from_numpy(random.choice(taught, BATCH))
        loss = functional.binary_cross_entropy_with_logits(head.logits(seen[chosen]), target[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        rows = torch.from_numpy(np.flatnonzero(held))
        said, proposed = head(seen[rows]) > 0.5, target[rows] > 0.5
        overlap = (said & proposed).sum((1, 2)) / (said | proposed).sum((1, 2)).clamp(min=1)
    return head.requires_grad_(False).eval(), float(overlap.mean())


@torch.no_grad()
def _taps_at_eighth(taps: StandardizedTaps, good: NDArray[np.uint8], device: str) -> Tensor:
    """(N, C, H / 8, W / 8)."""
    starts = range(0, len(good), CHUNK)
    return torch.cat([taps(lite_tensor(good[start : start + CHUNK], device))[1] for start in starts])
