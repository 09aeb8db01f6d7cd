"""Runs ONNX Runtime on the CPU: the embedded default, and what every other engine is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime as ort

from edgead.bundle.draft import Model
from edgead.engines.base import CpuEngine, Tensor
from edgead.engines.contract import Port

PROVIDER = "CPUExecutionProvider"


class OnnxEngine(CpuEngine):
    """One session. `unoptimized` runs every node for itself, so that Q/DQ is counted in floating point: what TensorRT's
    INT8 gives, without the saturation of some processors, and slow."""

    name = "onnx"
    library = f"onnxruntime {ort.__version__}"

    def __init__(self, bundle: Model, precision: str = "auto", threads: int = 0, *, unoptimized: bool = False) -> None:
        self._unoptimized = unoptimized
        super().__init__(bundle, precision, threads)

    def _load(self, network: bytes, threads: int) -> None:
        self._session: Any = open_session(network, threads, unoptimized=self._unoptimized)
        self._check(_ports(self._session.get_inputs()), _ports(self._session.get_outputs()))

    def _run(self, tensor: Tensor) -> Sequence[Tensor]:
        outputs: list[Tensor] = self._session.run(self._names, {"image": tensor})
        return outputs

    def close(self) -> None:
        super().close()
        self._session = None


def open_session(network: bytes, threads: int = 0, *, unoptimized: bool = False) -> Any:
    """A session of ONNX Runtime on the CPU, for at most `threads` threads (0: its own choice)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if unoptimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(network, options, providers=[PROVIDER])


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
