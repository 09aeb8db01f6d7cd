"""The Python models of a Triton repository that `edgead export --triton` writes; Triton's Python backend loads them.

`Judge` takes a frame, does what stands before and after the network by `edgead.ops`, and has Triton run the network in
between: a request to another model of the repository, in which frames of several requests are batched. `Network` is
that other model where the server has neither ONNX Runtime's nor TensorRT's backend. Both want edgead in the Python
environment of the backend.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from edgead import ops
from edgead.bundle import Bundle
from edgead.engines.base import CpuEngine
from edgead.errors import EdgeadError, EngineError
from edgead.kserve.model import BUNDLE, IMAGE, Source, outputs_of, read_image, to_tensors
from edgead.types import Tensor


class NetworkInTriton(CpuEngine):
    """An engine of which only the run of the network is elsewhere: in another model of this server."""

    library = "Triton"

    def __init__(self, bundle: Bundle, parameters: dict[str, str]) -> None:
        # the one whose network and thresholds it has
        self.name = parameters["engine"]  # type: ignore[misc]
        self._network, self._half = parameters["network"], parameters["half"] == "yes"
        super().__init__(bundle, parameters["precision"])

    def _load(self, network: bytes, threads: int) -> None:
        """Triton has loaded it."""

    def _run(self, tensor: Tensor) -> Sequence[Tensor]:
        given = triton.Tensor(IMAGE, tensor.astype(np.float16) if self._half else tensor)
        request = triton.InferenceRequest(
            model_name=self._network,
            requested_output_names=self._names,
            inputs=[given],
            preferred_memory=triton.PreferredMemory(triton.TRITONSERVER_MEMORY_CPU, 0),
        )
        answer = request.exec()
        if answer.has_error():
            raise EngineError(f"the model {self._network} failed: {answer.error().message()}")
        found = [triton.get_output_tensor_by_name(answer, name).as_numpy() for name in self._names]
        return [np.array(one, np.float32) for one in found]


class JudgeModel:
    """From a frame to a reading, with the network as another model. Its instances judge beside one another."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = _parameters(args)
        bundle = Bundle.open(_folder(args) / BUNDLE)
        self._engine = NetworkInTriton(bundle, parameters)
        self._thresholds = bundle.manifest.artifact(parameters["precision"], parameters["engine"]).thresholds
        self._source = Source(bundle.digest, parameters["engine"], parameters["precision"])
        self._outputs = [port.name for port in outputs_of(bundle.manifest)]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            image = read_image({IMAGE: triton.get_input_tensor_by_name(request, IMAGE).as_numpy()})
            (reading,) = self._engine.infer([image])
        except EdgeadError as error:
            return triton.InferenceResponse(output_tensors=[], error=triton.TritonError(str(error)))
        calibrated = ops.calibrate(reading.score, self._thresholds.image_center, self._thresholds.image)
        found = to_tensors(reading, calibrated, self._source)
        return triton.InferenceResponse([triton.Tensor(name, np.asarray(found[name])) for name in self._outputs])


class NetworkModel:
    """A network by ONNX Runtime, in Python: (B, 3, H, W) in, maps (B, h, w) out."""

    def initialize(self, args: dict[str, str]) -> None:
        from edgead.engines.onnx import open_session

        parameters = _parameters(args)
        self._session = open_session((_folder(args) / "model.onnx").read_bytes(), int(parameters["threads"]))
        self._names = json.loads(parameters["outputs"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        tensor = triton.get_input_tensor_by_name(request, IMAGE).as_numpy()
        try:
            rows = [self._session.run(self._names, {IMAGE: tensor[at : at + 1]}) for at in range(len(tensor))]
        except Exception as error:  # whatever the runtime meets is the request's, not the server's
            return triton.InferenceResponse(output_tensors=[], error=triton.TritonError(str(error)))
        outputs = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
        return triton.InferenceResponse(
            [triton.Tensor(name, output) for name, output in zip(self._names, outputs, strict=True)]
        )


def _folder(args: dict[str, str]) -> Path:
    return Path(args["model_repository"]) / args["model_version"]


def _parameters(args: dict[str, str]) -> dict[str, str]:
    found = json.loads(args["model_config"])["parameters"]
    return {name: value["string_value"] for name, value in found.items()}
