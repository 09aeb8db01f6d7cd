"""The edge form's two streams, and the graph that is exported: from an image to the maps of their disagreement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.layers.denoising import DenoisingStream
from edgead_tools.layers.residual_map import ResidualMap, stack_levels
from edgead_tools.layers.standardized import Pair, standardize
from edgead_tools.methods.memory import Students, memory_taps
from edgead_tools.methods.stlm.segmentation_head import SegmentationHead
from edgead_tools.methods.stlm.student_stream import PlainStream

Batches = Callable[[], Iterable[Tensor]]  # normalized RGB images (B, 3, H, W), the same at every call
Teacher = Callable[[Tensor], Pair]  # normalized RGB images to features at 1/8 and 1/16


class TwoStreams(nn.Module):
    """The plain and the denoising stream on one frozen trunk.

    Without a teacher the trunk teaches itself: a student of the teacher's architecture and weights starts at the
    optimum of L_plain, so its own taps are the plain stream and cost nothing. With a teacher the plain stream is
    a student on the trunk's taps, and both streams speak of the teacher's features.
    """

    def __init__(
        self, trunk: EfficientNetLite, images: Batches, *, width: int, code: int, teacher: Teacher | None = None
    ) -> None:
        """The last two taps of `trunk` lie at 1/8 and 1/16; features are standardized over good `images`."""
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        self.standard, means = standardize(lambda: (memory_taps(trunk(batch)) for batch in images()))
        self.target = self.standard  # how targets are standardized
        self.student: PlainStream | None = None
        taps = [mean.shape[1] for mean in means]
        if teacher is not None:
            taught = teacher
            self.target, means = standardize(lambda: (taught(batch) for batch in images()))
            self.student = PlainStream(taps, [mean.shape[1] for mean in means], width=width)
        self.denoising = DenoisingStream(taps, means, width=width, code=code)

    def taps(self, image: Tensor) -> Pair:
        """The trunk's taps of an image (B, 3, H, W), standardized per channel."""
        return self.standardized(self.trunk(image))

    def standardized(self, taps: Mapping[int, Tensor]) -> Pair:
        """What the trunk gives, standardized per channel: its taps at 1/8 and 1/16."""
        fine, coarse = self.standard(memory_taps(taps))
        return fine, coarse

    def residuals(self, image: Tensor) -> Pair:
        """What the plain stream sees less what the denoising stream expects: both levels stacked at 1/8, and the
        coarse one alone."""
        return self.compare(*self.taps(image))

    def compare(self, *taps: Tensor) -> Pair:
        """`residuals` of an image's standardized taps."""
        fine, coarse = taps if self.student is None else self.student(*taps)
        fine_expected, coarse_expected = self.denoising(*taps)
        fine, coarse = fine - fine_expected, coarse - coarse_expected
        return stack_levels(fine, coarse), coarse


class Disagreement(Students):
    """The exported graph: maps `stacked` (B, H/8, W/8), `coarse` (B, H/16, W/16) and, with a head, `head`, of the
    shape of `stacked`; with a memory its maps too."""

    def __init__(self, streams: TwoStreams, stacked: ResidualMap, coarse: ResidualMap) -> None:
        super().__init__()
        self.streams, self.stacked, self.coarse = streams, stacked, coarse
        self.head: SegmentationHead | None = None

    def whitened(self, image: Tensor) -> Tensor:
        """The stacked residual of unit covariance, which the head reads."""
        return self.stacked.whiten(self.streams.residuals(image)[0])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        taps = self.streams.trunk(image)
        return self.maps_of(taps) | self.remembered(taps)

    def maps_of(self, taps: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """The streams' maps of what the trunk gives."""
        stacked, coarse = self.streams.compare(*self.streams.standardized(taps))
        whitened = self.stacked.whiten(stacked)
        maps: dict[str, Tensor] = {"stacked": self.stacked.rate(whitened), "coarse": self.coarse(coarse)}
        if self.head is not None:
            maps["head"] = self.head(whitened)
        return maps
