"""Defines a bundle as a model of an inference server: its inputs and outputs, and readings as tensors.

`edgead serve`, the Python model of a Triton repository and the engine `kserve` share this file. One request is one
frame; what goes over the wire is raw, FP32 and FP64, so that a client judges by the same numbers as a local engine.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from edgead.bundle import Manifest
from edgead.errors import DataError
from edgead.kserve.tensors import Array, strings
from edgead.types import Branches, Deviation, ImageU8, ObjectFinding, Reading

IMAGE = "image"
VERSION = "1"
BUNDLE = "bundle.edgead"  # beside the Python model of a Triton repository


class Port(NamedTuple):
    """An input or output: -1 stands for a size that is open."""

    name: str
    datatype: str  # in the protocol's words
    shape: tuple[int, ...]


INPUTS = (Port(IMAGE, "UINT8", (-1, -1, 3)),)  # one frame, BGR
_OUTPUTS = (
    Port("anomaly_map", "FP32", (-1, -1)),  # raw, fused
    Port("score", "FP64", (1,)),  # raw image score
    Port("calibrated_score", "FP64", (1,)),  # 0 is a typical good part, above 1 it is NG
    Port("about", "BYTES", (1,)),  # JSON: bundle, engine, precision, times, branch scores
)
_LABELS = Port("labels", "UINT8", (-1, -1))  # the component or object of each cell, of bundles that have any


class Source(NamedTuple):
    """What judged at the server."""

    bundle: str  # digest
    engine: str
    precision: str


def outputs_of(manifest: Manifest) -> tuple[Port, ...]:
    """The outputs of a bundle's model."""
    counted = manifest.fusion.components or manifest.fusion.matching
    return _OUTPUTS if counted is None else (*_OUTPUTS, _LABELS)


def model_name(name: str) -> str:
    """A bundle's name as a server and a file system take it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "bundle"


def read_image(tensors: Mapping[str, Array]) -> ImageU8:
    """The frame of a request, (H, W, 3) uint8; raises DataError for anything else."""
    if set(tensors) != {IMAGE}:
        raise DataError(f"a request has one input, '{IMAGE}', not {', '.join(map(repr, tensors)) or 'none'}")
    image = tensors[IMAGE]
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"'{IMAGE}' must be UINT8 (height, width, 3), BGR, not {image.dtype} {image.shape}")
    return image


def to_tensors(reading: Reading, calibrated: float, source: Source) -> dict[str, Array]:
    """A reading as the model's outputs."""
    about: dict[str, Any] = {
        **source._asdict(),
        "times_ms": [reading.preprocess_ms, reading.infer_ms, reading.postprocess_ms],
    }
    tensors: dict[str, Array] = {
        "anomaly_map": reading.anomaly_map,
        "score": np.array([reading.score], np.float64),
        "calibrated_score": np.array([calibrated], np.float64),
    }
    if reading.branches is not None:
        branches = reading.branches
        said = ([asdict(one) for one in found] for found in (branches.deviations, branches.objects))
        about["branches"] = [branches.logical, branches.structural, *said]
        tensors["labels"] = branches.labels
    return {**tensors, "about": strings(json.dumps(about).encode())}


def from_tensors(tensors: Mapping[str, Array], shape: tuple[int, int]) -> tuple[Reading, Source]:
    """The inverse of `to_tensors`, with arrays of its own; `shape` is that of the bundle's fused map.

    Raises DataError for outputs that are not those of a bundle's model.
    """
    try:
        anomaly_map = np.array(tensors["anomaly_map"], np.float32)
        score = float(tensors["score"].reshape(-1)[0])
        about = json.loads(tensors["about"].reshape(-1)[0])
        source = Source(*(str(about[name]) for name in Source._fields))
        pre, infer, post = (float(value) for value in about["times_ms"])
        branches = None
        if "branches" in about:
            logical, structural, deviations, *objects = about["branches"]  # servers of before name no objects
            found = tuple(Deviation(**one) for one in deviations)
            named = tuple(ObjectFinding(**one) for one in (objects[0] if objects else ()))
            labels = np.array(tensors["labels"], np.uint8)
            branches = Branches(float(logical), float(structural), labels, found, named)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"the server's model is not one of edgead's: {type(error).__name__}: {error}") from error
    if anomaly_map.shape != shape or not (math.isfinite(score) and np.isfinite(anomaly_map).all()):
        raise DataError(f"the server's map is {anomaly_map.shape}, not {shape}, or holds what is no number")
    return Reading(anomaly_map, score, pre, infer, post, branches), source
