"""STLM: a plain and a denoising stream that agree on good parts and differ on defects (Chen et al., 2024).

The edge form, for pretrained EfficientNet-Lite0 in place of SAM. Against the published model:

- The plain stream is the frozen teacher's trunk itself. A student of the teacher's architecture and weights starts at
  the optimum of L_plain, so training it would change nothing.
- The denoising stream shares that trunk and passes its taps through a narrow code (`nets.denoising`), so both
  streams cost little more than one encoder. It is taught T(x) from x~, the image with a pseudo-anomaly pasted in.
- The levels are the taps at 1/8 and 1/16; L_deno is a squared error of standardised channels, since Lite0's block
  outputs are signed and of very different scales, where the published cosine ignores length.
- The map is the length of the whitened residual against what is usual at each cell (`methods.residual`).
- The segmentation head reads the whitened residual; its logit is the second map.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgead.bundle.manifest import FusionSpec, InputSpec, MapSpec, ScoreSpec
from edgead_tools.data.anomalies import Corruption, augment
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.residual import Batches, ResidualMap, fit_residual_map
from edgead_tools.nets.denoising import DenoisingStream, Residual, conv
from edgead_tools.nets.efficientnet_lite import OFFSET, SCALE, EfficientNetLite, load_efficientnet_lite, tensor_from
from edgead_tools.train import Optimiser, Run, fit
from edgead_tools.weights import find, load_state

FINE, COARSE = 4, 10  # trunk blocks whose outputs are compared: 1/8 and 1/16 of the image
STRIDE = 8  # pixels a cell of the maps
CHUNK = 16  # images a forward pass when statistics are fitted
FOCUS = 4.0  # gamma of the focal loss, STLM section 8


@dataclasses.dataclass(frozen=True, slots=True)
class Stlm:
    """The edge form's hyper-parameters."""

    name: ClassVar[str] = "stlm"
    weights: ClassVar[tuple[str, ...]] = ("efficientnet-lite0",)

    width: int = 128  # channels of the denoising stream
    code: int = 64  # channels of its narrowest place
    batch: int = 8
    rate: float = 2e-3
    anomaly_rate: float = 0.5  # share of training images with a pseudo-anomaly
    flips: bool = False  # whether a mirrored part is a good part
    rotation: float = 2.0  # degrees a part may be turned by
    head: float = 0.3  # weight of the head's map; 0 trains none
    head_share: float = 0.2  # of the training, spent on the head
    top: float = 0.01  # share of the map's cells the score is the mean of

    def train(self, images: TrainingImages, run: Run) -> Trained:
        source = find(self.weights[0], run.weights)
        trunk = load_efficientnet_lite(load_state(source), "lite0", (FINE, COARSE)).requires_grad_(False)
        trunk.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        good = _Good(images, run.device)
        streams = _Streams(trunk, self, good).to(run.device)
        share = self.head_share if self.head else 0.0
        reports = [self._teach(streams, good, _share(run, 1 - share))]
        disagreement = fit_residual_map(streams.eval().residuals_of(good)).to(run.device)
        head = _Head(disagreement.whitening.shape[0]).to(run.device) if self.head else None
        if head is not None:
            reports.append(self._teach_head(streams, disagreement, head, good, _share(run, share)))
        network = _Network(streams, disagreement, head).eval().cpu()
        return Trained(
            network=network,
            input=InputSpec(height=good.height, width=good.width, scale=(SCALE,) * 3, offset=(OFFSET,) * 3),
            fusion=self._fusion(network, good),
            report=_report(reports, source.describe()),
        )
