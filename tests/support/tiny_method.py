"""A method whose network trains and exports in a moment, for tests of what a build does around it.

A random projection of 4x4 pixels, against its mean and spread over good images: real training images, a real export and
real thresholds, with one convolution in place of a backbone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec, MapSpec, ScoreSpec
from edgead.registry import Lazy
from edgead_tools.methods import METHODS, Trained, TrainingImages
from edgead_tools.training.run import Run

CELL = 4  # pixels a side
WIDTH = 8  # channels
SCALE = 1 / 255


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, WIDTH, CELL, CELL)
        self.register_buffer("usual", torch.zeros(WIDTH, 1, 1))
        self.register_buffer("spread", torch.ones(WIDTH, 1, 1))

    def fit(self, projected: Tensor) -> None:
        """Set both moments to those of projected good images (N, WIDTH, h, w)."""
        self.usual[:] = projected.mean((0, 2, 3))[:, None, None]
        self.spread[:] = projected.std((0, 2, 3))[:, None, None]

    def distance(self, projected: Tensor) -> Tensor:
        return ((projected - self.usual) / self.spread).square().mean(1).sqrt()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"distance": self.distance(self.project(image))}


@dataclass(frozen=True)
class TinyMethod:
    """`steps` images of the training set are enough: it fits two moments."""

    name: ClassVar[str] = "tiny"
    preset: ClassVar[str] = "edge"
    size: ClassVar[int] = 64
    distils: ClassVar[bool] = False
    memory: ClassVar[int] = 0
    segments: ClassVar[bool] = False
    weights: ClassVar[tuple[str, ...]] = ()

    def train(self, images: TrainingImages, run: Run) -> Trained:
        torch.manual_seed(run.seed)
        network = _Network().eval().requires_grad_(False)
        good = np.concatenate([images.train, images.calibration])
        with torch.no_grad():
            pixels = torch.from_numpy(good[..., ::-1].copy()).permute(0, 3, 1, 2) * SCALE
            projected = network.project(pixels)
            folds = images.folds()
            maps = np.empty((len(good), *projected.shape[2:]), np.float32)
            for fold in range(folds.max() + 1):
                network.fit(projected[folds != fold])
                maps[folds == fold] = network.distance(projected[folds == fold])
            network.fit(projected)
        height, width = images.size
        rows, columns = height // CELL, width // CELL
        return Trained(
            network=network,
            input=InputSpec(height=height, width=width, scale=(SCALE,) * 3, offset=(0.0,) * 3),
            fusion=FusionSpec(
                maps=(MapSpec(name="distance"),), height=rows, width=columns,
                score=ScoreSpec(top=max(1, round(0.01 * rows * columns))),
            ),
            out_of_fold={"distance": maps},
            report={"steps": run.steps or 0, "seconds": 0.1, "weights": []},
        )  # fmt: skip


def register(patch: pytest.MonkeyPatch) -> None:
    """Have `--method tiny` name it."""
    patch.setitem(METHODS.builtin, "tiny.edge", Lazy("tiny_method:TinyMethod"))
