"""A real bundle around a network small enough to read: each cell of its map is the mean brightness of 4x4 pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from edgead.bundle import SCHEMA, Artifact, Bundle, FusionSpec, InputSpec, Manifest, MapSpec, Member, Thresholds
from edgead.bundle.store import write_bundle
from edgead.engines.onnx import OnnxEngine

SIZE = 32  # pixels, the network's input
GRID = 8  # cells
THRESHOLDS = Thresholds(
    image=0.6,
    image_center=0.2,
    pixel=0.6,
    pixel_center=0.2,
    false_alarm_rate=0.01,
    images=40,
    interval=(0.0, 0.09),
    promised=False,
)


def graph(output: str = "distance", size: int = SIZE, rank: int = 3, kind: int = TensorProto.FLOAT) -> bytes:
    """An ONNX file: mean over the channels, then over 4x4 pixels. The arguments make it break the contract."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["gray"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["gray"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Squeeze" if rank == 3 else "Identity", ["pooled", "axes"][: 2 if rank == 3 else 1], ["map"]),
        helper.make_node("Cast", ["map"], [output], to=kind),
    ]
    shape = ["batch", size // 4, size // 4] if rank == 3 else ["batch", 1, size // 4, size // 4]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, size, size])],
            [helper.make_tensor_value_info(output, kind, shape)],
            [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def halves() -> bytes:
    """`graph()` with its input and output in FP16, as TensorRT takes them."""
    model = onnx.load_from_string(graph(kind=TensorProto.FLOAT16))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.node[0].input[0] = "wide"
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.FLOAT))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def good(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    """A good part: dark gray with a little noise, (height, width, 3) BGR uint8."""
    return np.random.default_rng(seed).integers(45, 57, (height, width, 3)).astype(np.uint8)


def bad(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    """The same part with a bright spot a quarter of the frame wide, its corner at the frame's center."""
    image = good(seed, height, width)
    image[height // 2 : 3 * height // 4, width // 2 : 3 * width // 4] = 250
    return image


def manifest(**changes: Any) -> Manifest:
    """A manifest for `graph()` without golden frames; its member table is filled in by `write_bundle`."""
    network = Artifact(
        member="fp32.onnx",
        precision="fp32",
        thresholds=THRESHOLDS,
        good_scores=(0.2, 0.21),
        good_maxima=(0.2, 0.21),
        golden=(),
        tolerance=1e-4,
    )
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "name": "tiny",
        "method": "brightness",
        "input": InputSpec(height=SIZE, width=SIZE, scale=(1 / 255,) * 3, offset=(0.0,) * 3),
        "fusion": FusionSpec(maps=(MapSpec(name="distance"),), height=GRID, width=GRID),
        "artifacts": (network,),
        "golden_frames": (),
        "members": {"fp32.onnx": Member(sha256="", size=0)},
        "provenance": {"seed": 7, "data": {"digest": "d" * 8}, "licenses": {"weights": "Apache-2.0"}},
    }
    return Manifest(**{**fields, **changes})


def write_tiny(path: Path, *, distort: Callable[[np.ndarray], np.ndarray] | None = None, **changes: Any) -> Bundle:
    """Write a bundle with two golden frames, their maps measured by the real engine (and then distorted)."""
    draft = manifest(**changes)
    members = {artifact.member: graph() for artifact in draft.artifacts}
    frames = {"golden/0.png": good(1), "golden/1.png": bad(1)}
    artifacts = []
    for artifact in draft.artifacts:
        engine = OnnxEngine(Bundle(draft, members, "", None), artifact.precision, threads=1)
        golden = []
        for number, frame in enumerate(frames.values()):
            measured = engine.infer([frame])[0].anomaly_map
            golden.append(f"golden/{artifact.precision}-{number}.npy")
            members[golden[-1]] = npy(measured if distort is None else distort(measured))
        engine.close()
        artifacts.append(msgspec.structs.replace(artifact, golden=tuple(golden)))
    members |= {name: cv2.imencode(".png", frame)[1].tobytes() for name, frame in frames.items()}
    full = {**msgspec.structs.asdict(draft), "artifacts": tuple(artifacts), "golden_frames": tuple(frames)}
    full["members"] = {name: Member(sha256="", size=0) for name in members}
    return write_bundle(path, Manifest(**full), members)


def npy(values: np.ndarray) -> bytes:
    """An array as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
