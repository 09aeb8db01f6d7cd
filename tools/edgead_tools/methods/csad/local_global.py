"""Local and global students on a frozen trunk (LGST; CSAD, 4), for the edge.

The published local student is three quarters of the model's cost: a network of its own on the image. Here both students
stand on the trunk that is there anyway. The local one sees the tap at 1/4, which knows a small neighborhood, and must
guess the teacher's features from it; the global one sees the tap at 1/16, squeezes the whole picture through one vector
and must guess the same. What is locally strange, the local student misses; what is in a strange place, the two disagree
about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.layers.denoising import conv
from edgead_tools.layers.residual_map import ResidualMap, fit_residual_maps
from edgead_tools.layers.standardized import Standardized, standardize
from edgead_tools.methods.csad.component_head import ComponentHead
from edgead_tools.methods.memory import Students

DROPOUT = 0.2
Batches = Callable[[], Iterable[Tensor]]  # normalized RGB images (B, 3, H, W), the same at every call


class LocalStudent(nn.Module):
    """The tap at 1/4 -> the teacher's features and the other student's guess of them, (B, C, H/8, W/8) each."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(inputs, width, 3, 2), conv(width, width, 3), conv(width, width, 3))
        self.of_teacher = nn.Conv2d(width, outputs, 1)
        self.of_global = nn.Conv2d(width, outputs, 1)

    def forward(self, tap: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(tap)
        return self.of_teacher(x), self.of_global(x)


class GlobalStudent(nn.Module):
    """The tap at 1/16 -> one vector -> a guess of the teacher's features (B, C, H/8, W/8)."""

    def __init__(self, inputs: int, width: int, outputs: int, grid: tuple[int, int]) -> None:
        """`grid` is the tap's height and width in cells."""
        super().__init__()
        self.size = (2 * grid[0], 2 * grid[1])  # cells at 1/8
        height, width_ = math.ceil(grid[0] / 4), math.ceil(grid[1] / 4)
        self.encode = nn.Sequential(
            conv(inputs, width, 3, 2), conv(width, width, 3, 2), nn.Conv2d(width, width, (height, width_))
        )
        self.start = nn.Parameter(torch.zeros(1, width, height, width_))
        self.decode = nn.ModuleList([conv(width, width, 3) for _ in range(3)])
        self.drop = nn.Dropout(DROPOUT)
        self.head = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(self, tap: Tensor) -> Tensor:
        x = self.encode(tap) + self.start
        for layer in self.decode:
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.drop(layer(x))
        guess: Tensor = self.head(x)
        height, width = self.size
        return guess if guess.shape[2:] == self.size else guess[:, :, :height, :width]


class LocalGlobal(nn.Module):
    """Teacher and students on one trunk whose taps lie at 1/4, 1/8 and 1/16."""

    def __init__(self, trunk: EfficientNetLite, images: Batches, size: tuple[int, int], width: int) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        low, fine, deep = (trunk.channels[tap] for tap in trunk.taps)
        self.standard, _ = standardize(lambda: (tuple(trunk(batch).values()) for batch in images()))
        self.local = LocalStudent(low, width, fine + deep)
        self.wide = GlobalStudent(deep, width, fine + deep, (size[0] // 16, size[1] // 16))

    def taps(self, image: Tensor) -> list[Tensor]:
        """The standardized taps."""
        standard: Standardized = self.standard
        taps: list[Tensor] = standard(self.trunk(image).values())
        return taps

    def teach(self, taps: Sequence[Tensor]) -> Tensor:
        """The teacher's features (B, C, H/8, W/8)."""
        _, fine, deep = taps
        large = functional.interpolate(deep, scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.cat([fine, large], 1)

    def losses(self, original: Tensor, jittered: Tensor) -> dict[str, Tensor]:
        """L_st, L_ae and L_stae of images (B, 3, H, W) and of the same in other colors (CSAD, 4.4)."""
        with torch.no_grad():
            taps = self.taps(torch.cat([original, jittered]))
            teacher = self.teach(taps)
        count = len(original)
        of_teacher, of_global = self.local(taps[0])
        guess = self.wide(taps[2][count:])
        return {
            "local": functional.mse_loss(of_teacher[:count], teacher[:count]),
            "global": functional.mse_loss(guess, teacher[count:]),
            "agreement": functional.mse_loss(of_global[count:], guess),
        }

    def differences(self, image: Tensor) -> list[Tensor]:
        """Teacher against the local student, and the global student against the local one, (B, C, H/8, W/8) each."""
        return self.compare(self.taps(image))

    def compare(self, taps: Sequence[Tensor]) -> list[Tensor]:
        of_teacher, of_global = self.local(taps[0])
        return [self.teach(taps) - of_teacher, self.wide(taps[2]) - of_global]


class ComponentsAndStudents(Students):
    """The exported graph: an image (B, 3, H, W) -> `local` and `global` (B, h, w) and `components` (B, K, 2h, 2w); with
    a memory its maps too."""

    def __init__(self, students: LocalGlobal, maps: Sequence[ResidualMap], head: ComponentHead) -> None:
        super().__init__()
        self.students, self.maps, self.head = students, nn.ModuleList(maps), head

    def student_maps(self, image: Tensor) -> dict[str, Tensor]:
        """The students' maps alone."""
        return self._student_maps(self.students.taps(image))

    def _student_maps(self, taps: Sequence[Tensor]) -> dict[str, Tensor]:
        local, wide = (residual(one) for residual, one in zip(self.maps, self.students.compare(taps), strict=True))
        return {"local": local, "global": wide}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        raw = self.students.trunk(image)
        taps = self.students.standard(raw.values())
        return {**self._student_maps(taps), "components": self.head(taps[0], taps[2]), **self.remembered(raw)}


@torch.no_grad()
def fit_students(students: LocalGlobal, head: ComponentHead, good: Batches) -> ComponentsAndStudents:
    """The graph with the statistics of both differences over good images."""
    maps = fit_residual_maps(lambda: (students.differences(batch) for batch in good()))
    return ComponentsAndStudents(students, maps, head)
