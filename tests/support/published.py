"""Checkpoints in the layouts of published ones, filled with seeded noise: what can be tested of loading without them.

`LAYOUTS` names the weights that can be written; those that come as a package are not among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import dinov2_layouts
import pytest
import sam_layouts
import torch
from resnet_layouts import bottleneck_resnet
from torch import Tensor

from edgead_tools.backbones import dinov2, tiny_vit
from edgead_tools.backbones.weights import WEIGHTS


def _mobile_sam() -> dict[str, Tensor]:
    blocks = [blocks for blocks, _ in tiny_vit.ATTENTION]
    return sam_layouts.filled(sam_layouts.mobile_sam_shapes(blocks))


def _dinov2() -> dict[str, Tensor]:
    return sam_layouts.filled(dinov2_layouts.dinov2_shapes(dinov2.DEPTH))


def _featup() -> dict[str, Tensor]:
    return sam_layouts.filled(dinov2_layouts.featup_shapes())


LAYOUTS: dict[str, Callable[[], dict[str, Tensor]]] = {  # weights' name -> a state dict with its keys and shapes
    "mobile-sam": _mobile_sam,
    "dinov2-vits14": _dinov2,
    "featup-dinov2": _featup,
    "wide-resnet50-2": partial(bottleneck_resnet, 1, torch.float16),  # as the published file is
    "wide-resnet50-2-v2": partial(bottleneck_resnet, 1, torch.float32),
    "resnext50-32x4d": partial(bottleneck_resnet, 32, torch.float32),
}


def write_weights(folder: Path, names: Iterable[str]) -> None:
    """Write those of the named weights that no package brings into `folder`, under their published file names."""
    for name in names:
        if WEIGHTS[name].package is None:
            torch.save(LAYOUTS[name](), folder / WEIGHTS[name].file)


def make_shallow(patch: pytest.MonkeyPatch) -> None:
    """Networks with fewer blocks of each kind, in the layouts too: exporting TinyViT's ten blocks twice takes a minute.
    The full depth is exported by slow tests."""
    patch.setattr(dinov2, "DEPTH", 2)
    patch.setattr(tiny_vit, "ATTENTION", tuple((1, window) for _, window in tiny_vit.ATTENTION))
