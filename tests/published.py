"""Checkpoints in the layouts of published ones, filled with seeded noise: what can be tested of loading without them.

`LAYOUTS` names the weights that can be written; those that come as a package are not among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import sam_layouts
import torch
from torch import Tensor

from edgead_tools.weights import WEIGHTS

LAYOUTS: dict[str, Callable[[], dict[str, Tensor]]] = {  # weights' name -> a state dict with its keys and shapes
    "mobile-sam": lambda: sam_layouts.filled(sam_layouts.mobile_sam_shapes()),
}


def write_weights(folder: Path, names: Iterable[str]) -> None:
    """Write those of the named weights that no package brings into `folder`, under their published file names."""
    for name in names:
        if WEIGHTS[name].package is None:
            torch.save(LAYOUTS[name](), folder / WEIGHTS[name].file)
