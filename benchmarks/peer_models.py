"""PaDiM, PatchCore and STFPM on the features of one frozen trunk, after their papers.

peer_models.py is no program: `comparison.py` runs what it holds. They are written anew because anomalib's take hours on
some sets (`peers.py` runs those). All take EfficientNet-Lite0's taps at 1/8 and 1/16 and give maps on the grid of 1/8,
smoothed by a Gaussian of four pixels of the picture.

    PaDiM      a Gaussian a cell, covariance + 0.01 I (Defard et al., arXiv 2011.08785), all 152 channels
    PatchCore  3 x 3 means, a greedy choice of a share of the patches, distance of the farthest patch weighted by its
               neighborhood (Roth et al., arXiv 2106.08265). The choice is of at most `MOST` patches among `CANDIDATES`
    STFPM      a student of the trunk's architecture, from scratch (Wang et al., arXiv 2103.04257)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.layers.k_centers import k_centers
from edgead_tools.methods.lite import lite_tensor

CANDIDATES = 40_000  # patches among which PatchCore chooses
MOST = 10_000  # patches of its memory
NEIGHBORS = 9  # of the nearest patch, that its weight is of
SIGMA = 4.0  # pixels of the picture
CHUNK = 16


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the trunk gives of N pictures: taps (N, 40, h, w) and (N, 112, h / 2, w / 2), FP16; and the pictures."""

    fine: Tensor
    coarse: Tensor
    images: NDArray[np.uint8]

    def of(self, rows: NDArray[np.intp]) -> Features:
        return Features(self.fine[rows], self.coarse[rows], self.images[rows])

    def __len__(self) -> int:
        return len(self.fine)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Maps (N, h, w) and scores (N,) of the test side."""

    maps: NDArray[np.float32]
    scores: NDArray[np.float64]


def embed(features: Features, *, average: bool) -> Tensor:
    """Both levels at 1/8, (N, 152, h, w) in FP16; PatchCore averages each over 3 x 3 cells first."""
    parts = []
    for start in range(0, len(features), CHUNK):
        levels = [side[start : start + CHUNK].float() for side in (features.fine, features.coarse)]
        if average:
            levels = [functional.avg_pool2d(level, 3, 1, 1) for level in levels]
        raised = functional.interpolate(levels[1], size=levels[0].shape[2:], mode="bilinear", align_corners=False)
        parts.append(torch.cat([levels[0], raised], 1).half())
    return torch.cat(parts)


def smoothed(maps: Tensor, height: int) -> NDArray[np.float32]:
    """Maps (N, h, w) after the Gaussian, whose width is of pictures so high."""
    sigma = SIGMA * maps.shape[1] / height
    return np.stack([cv2.GaussianBlur(one.numpy(), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) for one in maps])


def padim(train: Features, test: Features, seed: int) -> Found:
    """A Gaussian for every cell."""
    cells = embed(train, average=False)
    _, channels, height, width = cells.shape
    rows = cells.permute(2, 3, 0, 1).reshape(height * width, -1, channels)
    mean, factors = [], []
    for some in rows.split(64):
        values = some.float()
        mean.append(values.mean(1))
        away = values - mean[-1][:, None]
        covariance = away.mT @ away / max(1, len(train) - 1) + 0.01 * torch.eye(channels)
        factors.append(torch.linalg.inv(torch.linalg.cholesky(covariance)).mT)
    means, whitening = torch.cat(mean)[:, None], torch.cat(factors)
    maps = []
    for some in embed(test, average=False).split(CHUNK):
        values = some.float().permute(2, 3, 0, 1).reshape(height * width, -1, channels)
        maps.append((((values - means) @ whitening) ** 2).sum(-1).sqrt().T.reshape(-1, height, width))
    found = smoothed(torch.cat(maps), test.images.shape[1])
    return Found(found, found.reshape(len(found), -1).max(1).astype(np.float64))


def patchcore(share: float) -> Callable[[Features, Features, int], Found]:
    """PatchCore whose memory is that share of the training's patches."""

    def fit(train: Features, test: Features, seed: int) -> Found:
        generator = torch.Generator().manual_seed(seed)
        rows = embed(train, average=True).permute(0, 2, 3, 1).flatten(0, 2)
        count = min(MOST, max(1, round(share * len(rows))))
        candidates = rows[torch.randperm(len(rows), generator=generator)[:CANDIDATES]].float()
        bank = candidates[k_centers(candidates, count, generator)]
        lengths = (bank * bank).sum(1)
        maps, scores = [], []
        for some in embed(test, average=True).split(CHUNK):
            height, width = some.shape[2:]
            values = some.float().permute(0, 2, 3, 1)
            for one in values.reshape(len(values), -1, values.shape[3]):
                squared = ((one * one).sum(1, keepdim=True) + lengths - 2 * one @ bank.T).clamp(min=0)
                nearest, place = squared.min(1)
                maps.append(nearest.sqrt().reshape(height, width))
                scores.append(_weighted(one[nearest.argmax()], bank, place[nearest.argmax()], nearest.max().sqrt()))
        return Found(smoothed(torch.stack(maps), test.images.shape[1]), np.array(scores))

    return fit


def _weighted(patch: Tensor, bank: Tensor, place: Tensor, distance: Tensor) -> float:
    """The distance of a patch, less where its nearest patch has no near neighbors (equation 7)."""
    near = torch.cdist(bank[place][None], bank)[0].topk(min(NEIGHBORS, len(bank)), largest=False).indices
    shares = torch.softmax((bank[near] - patch).norm(dim=1), 0)
    return float((1 - shares[0]) * distance)


def stfpm(trunk: EfficientNetLite, seconds: float) -> Callable[[Features, Features, int], Found]:
    """STFPM whose student is trained for so long."""

    def fit(train: Features, test: Features, seed: int) -> Found:
        torch.manual_seed(seed)
        student = EfficientNetLite("lite0", trunk.taps).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(student.parameters(), lr=0.4, momentum=0.9, weight_decay=1e-3)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rows = torch.randperm(len(train))[:8].numpy()
            some = train.of(rows)
            optimizer.zero_grad()
            torch.stack([one.mean() for one in _differences(student, some)]).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        student.eval()
        maps = []
        with torch.no_grad():
            for start in range(0, len(test), CHUNK):
                fine, coarse = _differences(student, test.of(np.arange(start, min(len(test), start + CHUNK))))
                raised = functional.interpolate(coarse[:, None], size=fine.shape[1:], mode="bilinear")[:, 0]
                maps.append(fine * raised)
        found = torch.cat(maps).numpy()
        return Found(found, found.reshape(len(found), -1).max(1).astype(np.float64))

    return fit


def _differences(student: EfficientNetLite, features: Features) -> list[Tensor]:
    """Half the squared difference of directions at both levels, (B, h, w)."""
    taps = student(lite_tensor(np.ascontiguousarray(features.images), "cpu")).values()
    targets = (features.fine.float(), features.coarse.float())
    return [
        ((functional.normalize(a, dim=1) - functional.normalize(b, dim=1)) ** 2).sum(1) / 2
        for a, b in zip(taps, targets, strict=True)
    ]
