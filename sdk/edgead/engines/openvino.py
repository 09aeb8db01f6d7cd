"""OpenVINO on the CPU: the fastest there, in FP32 by 6 % and in INT8 by 14 % on two cores with AVX2.

It computes in FP32 where the graph does: by default it takes BF16 on processors that have it, and scores would
depend on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino

from edgead.bundle import Bundle
from edgead.engines.contract import Port, check_ports
from edgead.engines.frames import Frames, Tensor
from edgead.errors import EngineError
from edgead.types import ImageU8, Reading

VERSION = str(openvino.__version__).partition("-")[0]


class OpenVinoEngine:
    """One compiled network and one request."""

    name = "openvino"

    def __init__(self, bundle: Bundle, precision: str = "auto", threads: int = 0) -> None:
        artifact = bundle.manifest.artifact(precision, self.name)
        self.precision: str = artifact.precision
        self._frames = Frames(bundle)
        properties = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            properties["INFERENCE_NUM_THREADS"] = str(threads)
        core = openvino.Core()
        model = self._read(core, bundle.read(artifact.member), artifact.member)
        check_ports(bundle.manifest, artifact.member, _ports(model.inputs), _ports(model.outputs))
        try:
            model.reshape({"image": list(self._frames.shape)})
            self._request: Any = core.compile_model(model, "CPU", properties).create_infer_request()
        except Exception as error:  # a RuntimeError as a rule, other classes from its bindings
            raise EngineError(f"openvino {VERSION} refused {artifact.member}: {_first(error)}") from error

    def _read(self, core: Any, network: bytes, member: str) -> Any:
        try:
            return core.read_model(network)
        except Exception as error:
            raise EngineError(f"openvino {VERSION} refused {member}: {_first(error)}") from error

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        return [self._frames.read(image, self._run) for image in images]

    def _run(self, tensor: Tensor) -> Sequence[Tensor]:
        if self._request is None:
            raise EngineError("the engine is closed: make a new Detector")
        try:
            self._request.infer({"image": tensor}, share_inputs=True)
        except Exception as error:
            raise EngineError(f"openvino {VERSION} failed on a frame: {_first(error)}") from error
        # copies: the request writes its next outputs into the same memory
        return [np.array(self._request.get_tensor(name).data) for name in self._frames.names]

    def close(self) -> None:
        self._request = None


def _ports(nodes: Sequence[Any]) -> list[Port]:
    return [
        Port(
            node.any_name,
            node.element_type == openvino.Type.f32,
            tuple(size.get_length() if size.is_static else None for size in node.partial_shape),
            f"tensor({node.element_type.get_type_name()}) {node.partial_shape}",
        )
        for node in nodes
    ]


def _first(error: Exception) -> str:
    """What went wrong, without the places in OpenVINO's sources it was thrown from."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return said[-1] if said else type(error).__name__
