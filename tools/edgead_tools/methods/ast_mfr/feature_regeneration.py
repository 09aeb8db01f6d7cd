"""Masked feature regeneration: a student's features, in training with holes, become a teacher's; and how far they are.

Source: AST-MFR (Gu, Li, Liu; Multimedia Tools and Applications, 2024): the mask and G_n, the distances, the loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

BEFORE_SQUARES = 1 / 8  # of features: the squares of a vector of length 256 already sum to more than FP16 holds
LEAST = 1e-6  # squared length of a scaled vector that still has a direction; 1e-12 would be 0 in FP16


class Regeneration(nn.Module):
    """G_n: the teacher's features of one stage from the student's, at the same grid.

    In training each image's features are masked first: cells whose draw, uniform in [0, 1), is below `mask_rate` are
    set to 0 in all channels, and what is left is not scaled up. At rest nothing is masked.
    """

    def __init__(self, inputs: int, outputs: int, mask_rate: float) -> None:
        super().__init__()
        self.mask_rate = mask_rate
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        if self.training:
            features = features * random_mask(features, self.mask_rate)
        regenerated: Tensor = self.second(functional.relu(self.first(features)))
        return regenerated


def random_mask(features: Tensor, rate: float) -> Tensor:
    """One mask an image, (B, 1, h, w): 0 at about a share of `rate` of the cells, 1 at the others."""
    count, _, height, width = features.shape
    draws = torch.rand(count, 1, height, width, device=features.device)
    return (draws >= rate).to(features.dtype)


def cosine_distance(difference: Tensor) -> Tensor:
    """1 - <a, b> from the difference of two directions, a - b: (B, C, h, w) -> (B, h, w), in 0..2.

    Computed as 0.5 ||a - b||^2, which is the same number and does not cancel: in FP16, for directions as near to each
    other as those of good parts, the difference from 1 is mostly rounding.
    """
    return 0.5 * (difference * difference).sum(1)


def direction(features: Tensor) -> Tensor:
    """The unit vector of the channels at each cell; 0 where there is none."""
    scaled = features * BEFORE_SQUARES
    return scaled * torch.rsqrt((scaled * scaled).sum(1, keepdim=True).clamp(min=LEAST))


class StudentTeacher(nn.Module):
    """The exported graph: a frozen teacher, a student, and what each stage of the student's passes before it
    is compared: a `Regeneration`, or nothing.

    Teacher and student map an image (B, 3, H, W) to a list of features, one (B, C, h, w) for each stage. The output
    is a map (B, h, w) of cosine distances for each, `stage1` and so on.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module, regenerations: Sequence[nn.Module]) -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(False).eval()
        self.student = student
        self.regenerations = nn.ModuleList(regenerations)

    def differences(self, image: Tensor) -> list[Tensor]:
        """a - b of every stage, (B, C, h, w), the directions of the regenerated and of the teacher's features;
        gradients reach the student and the regenerations."""
        stages = zip(self.regenerations, self.student(image), self.teacher(image), strict=True)
        return [direction(regenerate(features)) - direction(target) for regenerate, features, target in stages]

    def losses(self, image: Tensor) -> dict[str, Tensor]:
        """L = L_cos + L_L2 by stage. Both distances are the same number, hence the 2."""
        return {name: 2 * distance.mean() for name, distance in self(image).items()}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {f"stage{n}": cosine_distance(difference) for n, difference in enumerate(self.differences(image), 1)}
