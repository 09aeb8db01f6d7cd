"""Takes the masks of objects from a bundle that knows components: connected pieces of what its network says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgead import Bundle
from edgead.bundle import InputSpec, ProposalSpec
from edgead.errors import UsageError
from edgead.ops import COMPONENTS
from edgead.ops.resize import normalize
from edgead_tools.methods import Beside


class ComponentMasks:
    """The FP32 network of a bundle with components; its output of that name becomes one of the exported graph."""

    def __init__(self, path: Path, spec: InputSpec, threads: int) -> None:
        """`spec` is the input of the network that is built. Raises UsageError where the bundle knows no components, or
        takes its images otherwise."""
        bundle = Bundle.open(path)
        manifest, components = bundle.manifest, bundle.manifest.fusion.components
        if components is None:
            raise UsageError(f"{path} knows no components, so it has no masks: build it with --method csad")
        theirs = manifest.input
        if (theirs.height, theirs.width) != (spec.height, spec.width):
            raise UsageError(
                f"{path} takes images of {theirs.width}x{theirs.height} and this build {spec.width}x{spec.height}: "
                f"give --size {theirs.width}x{theirs.height}"
            )
        if theirs.tiles is not None or not np.allclose([theirs.scale, theirs.offset], [spec.scale, spec.offset]):
            raise UsageError(f"{path} takes its images otherwise: build it with --method csad --preset edge, no tiles")
        self.names, self.digest, self._spec = components.names, bundle.digest, spec
        self.network = bundle.read(manifest.artifact("fp32").member)
        options = ort.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, threads
        self._session = ort.InferenceSession(self.network, options, providers=["CPUExecutionProvider"])

    @property
    def beside(self) -> Beside:
        """What the exported graph gets of it."""
        return Beside(self.network, (COMPONENTS,))

    @property
    def proposals(self) -> ProposalSpec:
        """Where masks come from; what is fitted is a stand-in."""
        return ProposalSpec(
            source="classes", count=1, smallest=0.0, largest=1.0, classes=len(self.names), names=self.names
        )

    def logits(self, images: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """The logits (K, h, w) of each image (H, W, 3) BGR uint8."""
        tensor = np.empty((1, 3, self._spec.height, self._spec.width), np.float32)
        for image in images:
            normalize(np.ascontiguousarray(image), self._spec, tensor[0])
            (found,) = self._session.run([COMPONENTS], {"image": tensor})
            yield found[0]
