"""Defines the teachers of the edge forms: frozen backbones whose features at 1/8 and 1/16 of the image are learned.

Channels are standardized over good images and mixed by a fixed orthogonal map down to the width of the trunk's own
taps: what a small stream is to learn is then of one scale and of a size it can hold, and an orthogonal map keeps
distances as well as any to so few channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgead_tools.backbones import resnet, sam
from edgead_tools.backbones.efficientnet_lite import OFFSET, SCALE, VARIANTS, load_efficientnet_lite
from edgead_tools.backbones.resnet import load_resnet
from edgead_tools.backbones.sam import load_mobile_sam, load_sam_vit_h
from edgead_tools.layers.standardized import Pair, standardize

Load = Callable[..., tuple[torch.nn.Module, Any]]
State = Mapping[str, Tensor]
Features = Callable[[Tensor], Pair]  # of images (B, 3, H, W), RGB and normalized for EfficientNet-Lite
Batches = Callable[[], Iterable[Tensor]]


def _sam(load: Load, state: State, device: str) -> Features:
    """A SAM at twice the side: its embedding lies at 1/16 of what it sees, so at 1/8 of the image; what its decoder
    makes of that, averaged to 1/16, is the second level that STLM teaches."""
    network, _ = load(state)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(image: Tensor) -> Pair:
        larger = functional.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
        embedding, decoded = network(_renormalized(larger, sam.SCALE, sam.OFFSET))
        return embedding, functional.avg_pool2d(decoded, 2)

    return features


def _resnet(variant: str, state: State, device: str) -> Features:
    """A bottleneck ResNet's second and third stages."""
    network = load_resnet(state, variant)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(image: Tensor) -> Pair:
        _, fine, coarse = network(_renormalized(image, resnet.SCALE, resnet.OFFSET))
        return fine, coarse

    return features


def _renormalized(image: Tensor, scale: Sequence[float], offset: Sequence[float]) -> Tensor:
    """An image as another network wants it: pixel * scale + offset in R, G, B instead of EfficientNet-Lite's."""
    factors, shifts = (image.new_tensor(values).view(1, 3, 1, 1) for values in (scale, offset))
    return (image - OFFSET) / SCALE * factors + shifts


def _lite(variant: str, state: State, device: str) -> Features:
    _, *taps = VARIANTS[variant].taps
    network = load_efficientnet_lite(state, variant, taps)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(image: Tensor) -> Pair:
        fine, coarse = network(image).values()
        return fine, coarse

    return features


TEACHERS: dict[str, Callable[[State, str], Features]] = {  # name of the weights -> their tensors and a device
    "mobile-sam": partial(_sam, load_mobile_sam),
    "sam-vit-h": partial(_sam, load_sam_vit_h),
    **{variant: partial(_resnet, variant) for variant in resnet.VARIANTS},
    **{f"efficientnet-{variant}": partial(_lite, variant) for variant in VARIANTS},
}


@torch.no_grad()
def load_teacher(name: str, state: State, good: Batches, channels: Sequence[int], device: str) -> Features:
    """The features of a teacher of the table, `channels` of them at each level; the mixing is drawn with torch's seed.

    `state` is its checkpoint, `good` gives good images.
    """
    backbone = TEACHERS[name](state, device)
    standard, means = standardize(lambda: (backbone(batch) for batch in good()))
    mixes = [_mix(mean.shape[1], width).to(device) for mean, width in zip(means, channels, strict=True)]

    def features(image: Tensor) -> Pair:
        fine, coarse = standard(backbone(image))
        return functional.conv2d(fine, mixes[0]), functional.conv2d(coarse, mixes[1])

    return features


def _mix(inputs: int, outputs: int) -> Tensor:
    """Random weights (outputs, inputs, 1, 1) with orthonormal rows, or columns where there are fewer inputs."""
    weight = torch.empty(outputs, inputs)
    torch.nn.init.orthogonal_(weight)
    return weight[:, :, None, None]
