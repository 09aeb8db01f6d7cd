"""Local and global students as published (LGST; CSAD, 4; after EfficientAD): networks of their own on the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.resnet import OUTPUTS, ResNet
from edgead_tools.layers.moments import moments
from edgead_tools.methods.csad.component_head import ComponentHead

CHANNELS = 512  # of the features that are learned
HARDEST = 0.001  # share of a batch's squared errors that teach the local student
GRIDS = (3, 8, 15, 32, 63, 127)  # that the global student's decoder resizes to
DROPOUT = 0.2
STEP = 4  # pixels a cell of the features
Batches = Callable[[], Iterable[Tensor]]  # normalized RGB images (B, 3, H, W), the same at every call


class Teacher(nn.Module):
    """WideResNet-50's second and third stage, smoothed, projected at random and standardized: (B, CHANNELS, H/4, W/4).

    The projection is never trained and keeps its bias. Standardizing is folded into it once its statistics are known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(OUTPUTS[1] + OUTPUTS[2], CHANNELS, 1).requires_grad_(False)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        size = stages[0].shape[2:]
        both = [functional.interpolate(one, size, mode="bilinear", align_corners=False) for one in stages[1:]]
        features: Tensor = self.project(functional.avg_pool2d(torch.cat(both, 1), 3, 1, 1))
        return features

    @torch.no_grad()
    def standardize(self, features: Callable[[], Iterable[Tensor]]) -> None:
        """Fold mean and deviation over images into the projection: the mean of the images' channel means, and the root
        of the mean squared distance from it."""
        ((_, mean, _),) = moments((one.mean((2, 3)),) for one in features())
        away = moments(((one - mean[None, :, None, None]).square().mean((2, 3)),) for one in features())
        deviation = away[0][1].sqrt().clamp(min=1e-4)
        assert self.project.bias is not None
        self.project.weight.copy_((self.project.weight / deviation[:, None, None, None]).float())
        self.project.bias.copy_(((self.project.bias - mean) / deviation).float())


class LocalStudent(nn.Module):
    """PDN-medium with two heads: an image -> the teacher's features and the global student's, (B, CHANNELS, H/4, W/4).

    It sees 33x33 pixels around a cell.
    """

    def __init__(self) -> None:
        super().__init__()
        relu, pool = nn.ReLU(), nn.AvgPool2d(2, 2, 1)
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 256, 4, padding=3), relu, pool),
            *(nn.Conv2d(256, 512, 4, padding=3), relu, pool),
            *(nn.Conv2d(512, 512, 1), relu),
            *(nn.Conv2d(512, 512, 3, padding=1), relu),
            *(nn.Conv2d(512, 512, 4), relu),
        )
        self.of_teacher = nn.Conv2d(512, CHANNELS, 1)
        self.of_global = nn.Conv2d(512, CHANNELS, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(image)
        return self.of_teacher(x), self.of_global(x)


class GlobalStudent(nn.Module):
    """An autoencoder through one vector: an image -> the teacher's features (B, CHANNELS, H/4, W/4)."""

    def __init__(self, size: tuple[int, int]) -> None:
        """`size` is the image's height and width, multiples of 32."""
        super().__init__()
        widths = (3, 32, 32, 64, 64, 64)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
        self.encode = nn.Sequential(*layers, nn.Conv2d(64, 64, (size[0] // 32, size[1] // 32)))
        self.decode = nn.ModuleList([nn.Conv2d(64, 64, 4, padding=2) for _ in GRIDS])
        self.drop = nn.Dropout(DROPOUT)
        self.last = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, CHANNELS, 3, padding=1))
        self.grid = (size[0] // STEP, size[1] // STEP)

    def forward(self, image: Tensor) -> Tensor:
        x = self.encode(image)
        for side, layer in zip(GRIDS, self.decode, strict=True):
            x = functional.interpolate(x, (side, side), mode="bilinear", align_corners=False)
            x = self.drop(functional.relu(layer(x)))
        x = functional.interpolate(x, self.grid, mode="bilinear", align_corners=False)
        guess: Tensor = self.last(x)
        return guess


class PublishedCsad(nn.Module):
    """The exported graph: an image (B, 3, H, W) -> `local` and `global` (B, H/4, W/4), raw, and `components`."""

    def __init__(self, encoder: ResNet, size: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.teacher, self.local, self.wide = Teacher(), LocalStudent(), GlobalStudent(size)
        self.head = ComponentHead((OUTPUTS[0], OUTPUTS[2]), classes)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        stages = self.encoder(image)
        of_teacher, of_global = self.local(image)
        return {
            "local": (self.teacher(stages) - of_teacher).square().mean(1),
            "global": (self.wide(image) - of_global).square().mean(1),
            "components": self.head(stages[0], stages[2]),
        }

    def teach(self, image: Tensor) -> Tensor:
        """The teacher's standardized features."""
        features: Tensor = self.teacher(self.encoder(image))
        return features

    def losses(self, original: Tensor, jittered: Tensor, others: Tensor | None = None) -> dict[str, Tensor]:
        """L_st, L_ae and L_stae of images (B, 3, H, W) and of the same in other colors (CSAD, 4.4). Where there are
        `others`, images of another domain (B, 3, H, W), the local student is to see nothing in them: `penalty`."""
        with torch.no_grad():
            seen, other = self.teach(torch.cat([original, jittered])).chunk(2)
        guess = self.wide(jittered)
        penalty = {} if others is None else {"penalty": self.local(others)[0].square().mean()}
        return penalty | {
            "local": hardest((seen - self.local(original)[0]).square()),
            "global": functional.mse_loss(guess, other),
            "agreement": functional.mse_loss(self.local(jittered)[1], guess),
        }


def hardest(errors: Tensor) -> Tensor:
    """The mean of the elements that are among the `HARDEST` share of all."""
    count = max(1, round(HARDEST * errors.numel()))
    return errors.flatten().topk(count).values.mean()
