"""torchvision's bottleneck ResNets as state dicts of seeded noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def bottleneck_resnet(groups: int, kind: torch.dtype) -> dict[str, Tensor]:
    """torchvision's keys of WideResNet-50-2 (1 group) and ResNeXt-50 32x4d (32): four stages and the classifier.

    Convolutions keep the variance of what passes them, and the last norm of a block is small, as in trained ones.
    """
    random = torch.Generator().manual_seed(groups)
    return {name: _filled(name, shape, random, kind) for name, shape in _bottleneck_shapes(groups)}


def _bottleneck_shapes(groups: int) -> Shapes:
    yield "conv1.weight", (64, 3, 7, 7)
    yield from _norm_shapes("bn1", 64)
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width, outputs = 128 << stage, 256 << stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            yield f"{name}.conv1.weight", (width, inputs, 1, 1)
            yield from _norm_shapes(f"{name}.bn1", width)
            yield f"{name}.conv2.weight", (width, width // groups, 3, 3)
            yield from _norm_shapes(f"{name}.bn2", width)
            yield f"{name}.conv3.weight", (outputs, width, 1, 1)
            yield from _norm_shapes(f"{name}.bn3", outputs)
            if block == 0:
                yield f"{name}.downsample.0.weight", (outputs, inputs, 1, 1)
                yield from _norm_shapes(f"{name}.downsample.1", outputs)
            inputs = outputs
    yield "fc.weight", (1000, inputs)
    yield "fc.bias", (1000,)


def _norm_shapes(name: str, channels: int) -> Shapes:
    yield from ((f"{name}.{entry}", (channels,)) for entry in ("weight", "bias", "running_mean", "running_var"))
    yield f"{name}.num_batches_tracked", ()


def _filled(name: str, shape: tuple[int, ...], random: torch.Generator, kind: torch.dtype) -> Tensor:
    if not shape:
        return torch.tensor(0)
    if len(shape) == 1:
        value = 0.3 if name.endswith("bn3.weight") else float(name.endswith((".weight", ".running_var")))
        return torch.full(shape, value, dtype=kind)
    deviation = math.sqrt(2 / math.prod(shape[1:]))
    return torch.empty(shape).normal_(std=deviation, generator=random).to(kind)
