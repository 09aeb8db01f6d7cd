"""The edge form's two streams, and the graph that is exported: from an image to the maps of their disagreement."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.nets.denoising import DenoisingStream
from edgead_tools.nets.efficientnet_lite import EfficientNetLite
from edgead_tools.nets.moments import moments
from edgead_tools.nets.residual_map import ResidualMap
from edgead_tools.nets.segmentation_head import SegmentationHead

Batches = Callable[[], Iterable[Tensor]]  # normalised RGB images (B, 3, H, W), the same at every call
Pair = tuple[Tensor, Tensor]  # at 1/8 and at 1/16 of the image


class TwoStreams(nn.Module):
    """The frozen trunk, which is the plain stream, and the denoising stream that branches off it."""

    def __init__(self, trunk: EfficientNetLite, images: Batches, *, width: int, code: int) -> None:
        """`trunk` has two taps, at 1/8 and 1/16; its channels are standardised over good `images`."""
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        places = []
        with torch.no_grad():
            taps = moments(tuple(trunk(batch).values()) for batch in images())
        for level, (_, mean, squares) in enumerate(taps):
            center = mean.mean((1, 2), keepdim=True)
            spread = (squares.mean((1, 2), keepdim=True) - center**2).clamp(min=1e-12).sqrt()
            self.register_buffer(f"center{level}", center[None].float())
            self.register_buffer(f"spread{level}", spread[None].float())
            places.append(((mean - center) / spread)[None].float())
        self.denoising = DenoisingStream(places, width=width, code=code)

    def plain(self, image: Tensor) -> Pair:
        """The trunk's taps of an image (B, 3, H, W), standardised per channel."""
        fine, coarse = self.trunk(image).values()
        fine = (fine - self.get_buffer("center0")) / self.get_buffer("spread0")
        coarse = (coarse - self.get_buffer("center1")) / self.get_buffer("spread1")
        return fine, coarse

    def residuals(self, image: Tensor) -> Pair:
        """What the plain stream sees less what the denoising stream expects: both levels stacked at 1/8, and the
        coarse one alone. The fine level is averaged over 3x3 cells, which its receptive field overlaps anyway."""
        fine, coarse = self.plain(image)
        fine_expected, coarse_expected = self.denoising(fine, coarse)
        fine, coarse = fine - fine_expected, coarse - coarse_expected
        smooth = functional.avg_pool2d(fine, 3, 1, 1, count_include_pad=False)
        raised = functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.cat([smooth, raised], 1), coarse


class Disagreement(nn.Module):
    """The exported graph: maps `stacked` (B, H/8, W/8), `coarse` (B, H/16, W/16) and, with a head, `head`, of the
    shape of `stacked`."""

    def __init__(self, streams: TwoStreams, stacked: ResidualMap, coarse: ResidualMap) -> None:
        super().__init__()
        self.streams, self.stacked, self.coarse = streams, stacked, coarse
        self.head: SegmentationHead | None = None

    def whitened(self, image: Tensor) -> Tensor:
        """The stacked residual of unit covariance, which the head reads."""
        return self.stacked.whiten(self.streams.residuals(image)[0])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        stacked, coarse = self.streams.residuals(image)
        whitened = self.stacked.whiten(stacked)
        maps = {"stacked": self.stacked.rate(whitened), "coarse": self.coarse(coarse)}
        return maps if self.head is None else maps | {"head": self.head(whitened)}
