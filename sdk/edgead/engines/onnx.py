"""ONNX Runtime on the CPU: the embedded default, and what every other engine is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime as ort

from edgead.bundle import Bundle
from edgead.engines.contract import Port, check_ports
from edgead.engines.frames import Frames, Tensor
from edgead.errors import EngineError
from edgead.types import ImageU8, Reading

PROVIDER = "CPUExecutionProvider"


class OnnxEngine:
    """One session. `unoptimized` runs every node for itself, so that Q/DQ is counted in floating point: what TensorRT's
    INT8 gives, without the saturation of some processors, and slow."""

    name = "onnx"

    def __init__(self, bundle: Bundle, precision: str = "auto", threads: int = 0, *, unoptimized: bool = False) -> None:
        artifact = bundle.manifest.artifact(precision, self.name)
        self.precision: str = artifact.precision
        self._frames = Frames(bundle)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if unoptimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session: Any = ort.InferenceSession(bundle.read(artifact.member), options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise EngineError(f"onnxruntime {ort.__version__} refused {artifact.member}: {error}") from error
        check_ports(
            bundle.manifest, artifact.member, _ports(self._session.get_inputs()), _ports(self._session.get_outputs())
        )

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        return [self._frames.read(image, self._run) for image in images]

    def _run(self, tensor: Tensor) -> Sequence[Tensor]:
        if self._session is None:
            raise EngineError("the engine is closed: make a new Detector")
        try:
            outputs: list[Tensor] = self._session.run(self._frames.names, {"image": tensor})
        except Exception as error:
            raise EngineError(f"onnxruntime {ort.__version__} failed on a frame: {error}") from error
        return outputs

    def close(self) -> None:
        self._session = None


def _ports(nodes: Sequence[Any]) -> list[Port]:
    return [
        Port(
            node.name,
            node.type == "tensor(float)",
            tuple(size if isinstance(size, int) else None for size in node.shape),
            f"{node.type} {node.shape}",
        )
        for node in nodes
    ]
