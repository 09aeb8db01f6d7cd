"""Shares what methods on an EfficientNet-Lite trunk need: the trunk, and good images as its input."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite, load_efficientnet_lite, tensor_from
from edgead_tools.backbones.weights import WeightsFile, load_state
from edgead_tools.methods import TrainingImages

CHUNK = 16  # images a forward pass when statistics are fitted

Batches = Callable[[], Iterable[Tensor]]


def lite0_trunk(source: WeightsFile, device: str) -> EfficientNetLite:
    """EfficientNet-Lite0 on the device, with its taps at 1/4, 1/8 and 1/16 and the block after them for the memory."""
    trunk = load_efficientnet_lite(load_state(source), further=1)
    trunk.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return trunk


def lite_tensor(images: NDArray[np.uint8], device: str) -> Tensor:
    """The trunk's input (B, 3, H, W) on the device, from images (B, H, W, 3) uint8 BGR."""
    return tensor_from(torch.from_numpy(images)).to(device=device, memory_format=torch.channels_last)


def chunk(tiles: int) -> int:
    """Images a forward pass, about `CHUNK`: whole frames of so many tiles."""
    return tiles * max(1, CHUNK // tiles)


def lite_batches(images: TrainingImages, device: str) -> Batches:
    """All good images in order, those kept from the training included: statistics need every one."""
    size = chunk(images.tiles)

    def batches() -> Iterable[Tensor]:
        for side in (images.train, images.calibration):
            for start in range(0, len(side), size):
                yield lite_tensor(np.array(side[start : start + size]), device)

    return batches
