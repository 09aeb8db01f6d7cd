"""The HTTP application of `edgead serve`: the Open Inference Protocol, version 2, with binary tensor data."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import edgead
from edgead import ops
from edgead.bundle import Manifest
from edgead.detector import Detector
from edgead.errors import DataError, EdgeadError
from edgead.kserve import tensors
from edgead.kserve.model import INPUTS, VERSION, Port, Source, outputs_of, read_image, to_tensors
from edgead.kserve.tensors import LENGTH_HEADER, Array
from edgead.serving.batcher import Batcher

BODY_LIMIT = 128 << 20  # bytes of a request


class Served(NamedTuple):
    """A bundle that is served."""

    detector: Detector
    batcher: Batcher

    def __str__(self) -> str:
        engine = self.detector.engine
        return f"{self.detector.model} on {engine.name} {engine.precision}"

    @property
    def manifest(self) -> Manifest:
        return self.detector.bundle.manifest

    def outputs(self, reading: Any) -> dict[str, Array]:
        """The model's outputs for a reading."""
        engine, thresholds = self.detector.engine, self.detector.artifact.thresholds
        calibrated = ops.calibrate(reading.score, thresholds.image_center, thresholds.image)
        source = Source(self.detector.bundle.digest, reading.judged_by or engine.name, engine.precision)
        return to_tensors(reading, calibrated, source)


def make_app(models: Mapping[str, Served]) -> Starlette:
    """The application over models by name."""
    handlers = _Handlers(models)
    routes = [
        Route("/v2", handlers.server),
        Route("/v2/health/live", handlers.health),
        Route("/v2/health/ready", handlers.health),
    ]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            Route(path, handlers.metadata),
            Route(f"{path}/ready", handlers.ready),
            Route(f"{path}/infer", handlers.infer, methods=["POST"]),
        ]
    return Starlette(routes=routes, exception_handlers={EdgeadError: _refuse, ClientDisconnect: _gone})


class _Refusal(EdgeadError):
    """An answer that is not 200."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class _Handlers:
    """Answers requests."""

    def __init__(self, models: Mapping[str, Served]) -> None:
        self._models = models

    async def server(self, request: Request) -> Response:
        extensions = ["binary_tensor_data"]
        return JSONResponse({"name": "edgead", "version": edgead.__version__, "extensions": extensions})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"live": True, "ready": True})

    async def ready(self, request: Request) -> Response:
        self._model(request)
        return JSONResponse({"name": request.path_params["model"], "ready": True})

    async def metadata(self, request: Request) -> Response:
        served = self._model(request)
        return JSONResponse(
            {
                "name": request.path_params["model"],
                "versions": [VERSION],
                "platform": f"edgead_{served.detector.engine.name}",
                "inputs": [_described(port) for port in INPUTS],
                "outputs": [_described(port) for port in outputs_of(served.manifest)],
            }
        )

    async def infer(self, request: Request) -> Response:
        served = self._model(request)
        length = request.headers.get(LENGTH_HEADER, "0")
        if not length.isdecimal() or len(length) > len(str(BODY_LIMIT)):
            raise _Refusal(400, f"{LENGTH_HEADER} is '{length}'")
        asked, given = tensors.decode(await _body(request), int(length), "inputs")
        future = served.batcher.submit(read_image(given))
        found = served.outputs(await asyncio.wrap_future(future))
        answer = {"model_name": request.path_params["model"], "model_version": VERSION}
        if isinstance(asked.get("id"), str):
            answer["id"] = asked["id"]
        return _answer(answer, asked, found)

    def _model(self, request: Request) -> Served:
        name, version = request.path_params["model"], request.path_params.get("version", VERSION)
        if name not in self._models or version != VERSION:
            raise _Refusal(404, f"there is no model '{name}' in version {version}: {', '.join(self._models)}")
        return self._models[name]


def _answer(answer: dict[str, Any], asked: Mapping[str, Any], found: Mapping[str, Array]) -> Response:
    """The outputs that were asked for, all where none was named, in binary where that was asked for."""
    try:
        names = [one["name"] for one in asked.get("outputs", ())] or list(found)
        all_binary = bool(asked.get("parameters", {}).get("binary_data_output", False))
        wanted = {one["name"]: one.get("parameters", {}) for one in asked.get("outputs", ())}
        binary = all(wanted.get(name, {}).get("binary_data", all_binary) for name in names)
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(f"the outputs are not asked for as the inference protocol says: {error}") from error
    if unknown := [name for name in names if name not in found]:
        raise DataError(f"the model has no output {', '.join(map(repr, unknown))}: it has {', '.join(found)}")
    chosen = {name: found[name] for name in names}
    if not binary:
        return Response(tensors.encode_json(answer, "outputs", chosen), media_type="application/json")
    body, length = tensors.encode(answer, "outputs", chosen)
    return Response(body, media_type="application/octet-stream", headers={LENGTH_HEADER: str(length)})


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_LIMIT:
            raise _Refusal(413, f"a request has at most {BODY_LIMIT} bytes")
        parts.append(part)
    return b"".join(parts)


async def _refuse(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, _Refusal) else 400 if isinstance(error, DataError) else 503
    return JSONResponse({"error": str(error)}, status)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


def _described(port: Port) -> dict[str, Any]:
    return {"name": port.name, "datatype": port.datatype, "shape": list(port.shape)}
