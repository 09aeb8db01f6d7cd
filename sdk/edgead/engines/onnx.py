"""ONNX Runtime on the CPU: the embedded default, and what every other engine is compared with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from edgead import ops
from edgead.bundle import Bundle
from edgead.errors import EngineError
from edgead.types import ImageU8, Reading

PROVIDER = "CPUExecutionProvider"


class OnnxEngine:
    """One session, one preallocated input; frames run one by one, since a batch gains nothing on a CPU."""

    name = "onnx"

    def __init__(self, bundle: Bundle, precision: str = "auto", threads: int = 0) -> None:
        artifact = bundle.manifest.artifact(precision)
        self.precision: str = artifact.precision
        self._input = bundle.manifest.input
        self._fusion = bundle.manifest.fusion
        self._mask = ops.load_mask(bundle)
        self._components = ops.load_components(bundle)
        self._tensor = np.empty((1, 3, self._input.height, self._input.width), np.float32)
        self._names = [part.name for part in self._fusion.maps]
        if self._components is not None:
            self._names.append(ops.COMPONENTS)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session: Any = ort.InferenceSession(bundle.read(artifact.member), options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise EngineError(f"onnxruntime {ort.__version__} refused {artifact.member}: {error}") from error
        self._check_signature(artifact.member)

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        return [self._infer_one(image) for image in images]

    def _infer_one(self, image: ImageU8) -> Reading:
        if self._session is None:
            raise EngineError("the engine is closed: make a new Detector")
        start = time.perf_counter()
        ops.to_input(image, self._input, self._tensor[0])
        prepared = time.perf_counter()
        try:
            outputs = self._session.run(self._names, {"image": self._tensor})
        except Exception as error:
            raise EngineError(f"onnxruntime {ort.__version__} failed on a frame: {error}") from error
        inferred = time.perf_counter()
        maps = {name: out[0] for name, out in zip(self._names, outputs, strict=True)}
        fused = ops.fuse(maps, self._fusion, self._mask)
        score, branches = ops.image_score(fused, self._fusion), None
        if self._components is not None:
            score, branches = ops.judge_components(maps[ops.COMPONENTS], score, self._components)
        done = time.perf_counter()
        times = 1e3 * (prepared - start), 1e3 * (inferred - prepared), 1e3 * (done - inferred)
        return Reading(fused, score, *times, branches)

    def _check_signature(self, member: str) -> None:
        """Compare the graph with the contract: `image` (B, 3, H, W) in, the fusion's maps (B, h, w) out and, where
        it has components, their logits (B, K, h, w); all FP32."""
        wanted: dict[str, tuple[int | None, ...]] = {"image": (None, *self._tensor.shape[1:])}
        wanted |= dict.fromkeys(self._names, (None, None, None))
        if self._components is not None:
            wanted[ops.COMPONENTS] = (None, len(self._components.spec.names), None, None)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        faults = [f"it has no '{name}'" for name in wanted if name not in {node.name for node in (*inputs, *outputs)}]
        faults += [f"input '{node.name}' is not fed" for node in inputs if node.name != "image"]
        for node in (*inputs, *outputs):
            if node.name in wanted and not _fits(node, wanted[node.name]):
                faults.append(f"'{node.name}' is {node.type} {node.shape}")
        if faults:
            raise EngineError(f"{member} does not keep the graph contract: {'; '.join(faults)}; export it again")

    def close(self) -> None:
        self._session = None


def _fits(node: Any, shape: tuple[int | None, ...]) -> bool:
    """Whether a graph's input or output is FP32 and of that shape; a size that either leaves open fits, a batch too."""
    sizes = [size if isinstance(size, int) else None for size in node.shape]
    if node.type != "tensor(float)" or len(sizes) != len(shape) or sizes[0] not in (None, 1):
        return False
    return all(have == want or have is None or want is None for have, want in zip(sizes, shape, strict=True))
