"""The Python models of a Triton repository that `edgead export --triton` writes; Triton's Python backend loads them.

`Judge` takes a frame, does what stands before and after the network by `edgead.ops`, and has Triton run the network in
between: a request to another model of the repository, in which frames of several requests are batched. `Network` is
that other model where the server has neither ONNX Runtime's nor TensorRT's backend. Both want edgead in the Python
environment of the backend.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from edgead import ops
from edgead.bundle import Bundle
from edgead.engines.contract import output_names
from edgead.errors import EdgeadError, EngineError
from edgead.kserve.model import BUNDLE, IMAGE, Source, outputs_of, read_image, to_tensors
from edgead.types import MapF32, Reading, Tensor


class JudgeModel:
    """From a frame to a reading, with the network as another model."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = _parameters(args)
        self._bundle = Bundle.open(_folder(args) / BUNDLE)
        manifest = self._bundle.manifest
        self._network, engine, precision = (parameters[name] for name in ("network", "engine", "precision"))
        self._thresholds = manifest.artifact(precision, engine).thresholds
        self._source = Source(self._bundle.digest, engine, precision)
        self._names = output_names(manifest.fusion)
        self._half = parameters["half"] == "yes"
        self._mask, self._components = ops.load_mask(self._bundle), ops.load_components(self._bundle)
        self._references = ops.load_references(self._bundle)
        self._outputs = [port.name for port in outputs_of(manifest)]

    async def execute(self, requests: Sequence[Any]) -> list[Any]:
        """The answers to requests, which are judged beside one another."""
        return list(await asyncio.gather(*(self._answer(request) for request in requests)))

    async def _answer(self, request: Any) -> Any:
        try:
            image = read_image({IMAGE: triton.get_input_tensor_by_name(request, IMAGE).as_numpy()})
            reading = await self._read(image)
        except EdgeadError as error:
            return triton.InferenceResponse(output_tensors=[], error=triton.TritonError(str(error)))
        calibrated = ops.calibrate(reading.score, self._thresholds.image_center, self._thresholds.image)
        found = to_tensors(reading, calibrated, self._source)
        return triton.InferenceResponse([triton.Tensor(name, np.asarray(found[name])) for name in self._outputs])

    async def _read(self, image: Any) -> Reading:
        start = time.perf_counter()
        tensor = ops.to_input(image, self._bundle.manifest.input)[np.newaxis]
        prepared = time.perf_counter()
        maps = await self._infer(tensor)
        inferred = time.perf_counter()
        fusion = self._bundle.manifest.fusion
        fused = ops.fuse(maps, fusion, self._mask)
        score, branches = ops.image_score(fused, fusion), None
        if self._references is not None:
            small = ops.resize(image, *self._bundle.manifest.input.frame)
            fused, score, branches = ops.judge_objects(small, maps, fused, fusion, self._references, self._mask)
        if self._components is not None:
            score, branches = ops.judge_components(maps[ops.COMPONENTS], score, self._components)
        done = time.perf_counter()
        times = 1e3 * (prepared - start), 1e3 * (inferred - prepared), 1e3 * (done - inferred)
        return Reading(fused, score, *times, branches)

    async def _infer(self, tensor: Tensor) -> dict[str, MapF32]:
        """One frame through the network's model."""
        given = triton.Tensor(IMAGE, tensor.astype(np.float16) if self._half else tensor)
        request = triton.InferenceRequest(
            model_name=self._network,
            requested_output_names=self._names,
            inputs=[given],
            preferred_memory=triton.PreferredMemory(triton.TRITONSERVER_MEMORY_CPU, 0),
        )
        answer = await request.async_exec()
        if answer.has_error():
            raise EngineError(f"the model {self._network} failed: {answer.error().message()}")
        found = {name: triton.get_output_tensor_by_name(answer, name) for name in self._names}
        return {name: np.array(output.as_numpy()[0], np.float32) for name, output in found.items()}


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
