"""Exports a trained network to an ONNX file, after checking that it gives the same maps. Torch ends here.

The file keeps the contract every engine relies on: input `image` (B, 3, H, W) BGR and normalized, B free; outputs
the named maps in FP32. torch.export is used (`dynamo=True`): for the Lite0 trunk with a head it gave 85 nodes with
batch norm and padding folded, where TorchScript's exporter gave 490, unknown shapes and a warning a layer.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgead.engines.contract import channels_of, output_names
from edgead.errors import GateError
from edgead.files import write_file
from edgead.ops import COMPONENTS
from edgead.ops.resize import normalize
from edgead_tools.export.graph import check_operators, finish
from edgead_tools.export.join import join
from edgead_tools.methods import Beside, Trained
from edgead_tools.methods.memory import UNTRAINED

OPSET = 18  # the lowest with one LayerNormalization node and antialias-free Resize that torch.export writes
BATCHES = (1, 2, 5)
FRAMES = (1, 2)  # where a batch is made of whole frames in tiles
TOLERANCE = 1e-4  # largest difference of a map from torch, times the map's largest value where that exceeds 1
# The same of a memory's maps: squared distances in units of their spread over good images, which may hardly differ and
# then magnifies rounding: 1.6e-3 was seen. Another graph differs by tenths.
MAGNIFIED = 3e-3

Maps = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The file and how far its maps are from torch's."""

    path: Path
    sha256: str
    size: int  # bytes
    nodes: int
    outputs: dict[str, tuple[int, ...]]  # shape of one image's map
    errors: dict[str, float]  # largest absolute difference from torch, over all images and batches
    opset: int = OPSET

    def provenance(self) -> dict[str, Any]:
        """What a bundle records of it."""
        return {
            "max_error": max(self.errors.values()),
            "nodes": self.nodes,
            "opset": self.opset,
            "outputs": {name: list(shape) for name, shape in self.outputs.items()},
        }


def export(trained: Trained, path: Path, examples: NDArray[np.uint8]) -> ExportReport:
    """Write `path` and compare it with torch on `examples` (N, H, W, 3) uint8 BGR at network size, in batches of
    1, 2 and 5 images.

    Two exports of the same weights are the same bytes. Raises GateError where the network breaks the contract, the
    graph holds a forbidden operator, or a map differs.
    """
    network, group = _Named(trained.network), trained.group
    batches = BATCHES if group == 1 else tuple(group * frames for frames in FRAMES)
    images = _inputs(trained, examples, max(batches))
    outputs = _check_network(trained, network, images)
    model = finish(_to_onnx(network, images[:group], list(outputs)))
    if trained.beside is not None:
        model = join(model, trained.beside.network, trained.beside.outputs)
    check_operators(model)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    errors = _compare(content, network, images, list(outputs), batches, group)
    if trained.beside is not None:
        shapes, others = _compare_joined(content, trained.beside, images)
        outputs, errors = outputs | shapes, errors | others
    write_file(path, content)
    digest = hashlib.sha256(content).hexdigest()
    return ExportReport(path, digest, len(content), len(model.graph.node), outputs, errors)


class _Named(nn.Module):
    """The network with its outputs as a tuple, in the order of their names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def named(self, image: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.network(image)
        return dict(sorted(outputs.items()))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.named(image).values())


def _inputs(trained: Trained, examples: NDArray[np.uint8], most: int) -> NDArray[np.float32]:
    """What the runtime would feed, (N, 3, H, W) BGR, with examples repeated up to the largest batch."""
    spec = trained.input
    if examples.ndim != 4 or len(examples) == 0 or examples.shape[1:] != (spec.height, spec.width, 3):
        raise GateError(f"export needs examples of (N, {spec.height}, {spec.width}, 3), not {examples.shape}")
    count = max(len(examples) // trained.group * trained.group, most)
    images = np.empty((count, 3, spec.height, spec.width), np.float32)
    for index in range(count):
        normalize(np.ascontiguousarray(examples[index % len(examples)]), spec, images[index])
    return images


def _run_torch(network: _Named, images: NDArray[np.float32]) -> Maps:
    rgb = torch.from_numpy(np.ascontiguousarray(images[:, ::-1]))
    with torch.inference_mode():
        return {name: tensor.numpy() for name, tensor in network.named(rgb).items()}


def _check_network(trained: Trained, network: _Named, images: NDArray[np.float32]) -> dict[str, tuple[int, ...]]:
    """The outputs' shapes for one image, after checking what a method promises of its network."""
    if any(module.training for module in trained.network.modules()):
        raise GateError("the trained network is not in eval mode: its batch norms and dropout would go on changing")
    wrong = [
        name for name, tensor in network.state_dict().items() if tensor.is_floating_point() and not _is_normal(tensor)
    ]
    if wrong:
        raise GateError(f"the trained network must be FP32 on the CPU, and {wrong[0]} is not")
    maps = _run_torch(network, images[: 2 * trained.group])
    elsewhere = () if trained.beside is None else trained.beside.outputs
    missing = set(output_names(trained.fusion)) - maps.keys() - set(elsewhere)
    if missing:
        raise GateError(f"the fusion needs outputs the network does not give: {', '.join(sorted(missing))}")
    for name, array in maps.items():
        rank = 4 if name in channels_of(trained.fusion) or name == COMPONENTS else 3
        if (
            array.ndim != rank
            or len(array) != 2 * trained.group
            or array.dtype != np.float32
            or not np.isfinite(array).all()
        ):
            raise GateError(f"output '{name}' must be finite FP32 of rank {rank}, is {array.dtype} {array.shape}")
    return {name: array.shape[1:] for name, array in maps.items()}


def _is_normal(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


def _to_onnx(network: _Named, image: NDArray[np.float32], names: list[str]) -> onnx.ModelProto:
    example = torch.from_numpy(image).repeat(2, 1, 1, 1)  # torch.export fixes a dimension of 1
    batch = torch.export.Dim("batch")
    with quiet():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=names,
            dynamic_shapes=({0: batch if len(image) == 1 else len(image) * batch},),
            verbose=False,
        )
    assert program is not None  # it is with dynamo=True
    return program.model_proto


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's remarks about packages it does not find and its own deprecated calls."""
    logger = logging.getLogger("torch.onnx._internal.exporter")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _compare(
    content: bytes, network: _Named, images: NDArray[np.float32], names: list[str], batches: Sequence[int], group: int
) -> dict[str, float]:
    """The largest difference from torch, which runs `group` images at a time, of each map; raises GateError beyond the
    tolerance."""
    session = _session(content)
    singles = [_run_torch(network, images[start : start + group]) for start in range(0, len(images), group)]
    errors = dict.fromkeys(names, 0.0)
    for batch in batches:
        for start in range(0, len(images) - batch + 1, batch):
            found = session.run(names, {"image": images[start : start + batch]})
            for name, array in zip(names, found, strict=True):
                expected = np.concatenate([one[name] for one in singles[start // group : (start + batch) // group]])
                errors[name] = max(errors[name], _difference(name, batch, array, expected))
    return errors


def _compare_joined(
    content: bytes, beside: Beside, images: NDArray[np.float32]
) -> tuple[dict[str, tuple[int, ...]], dict[str, float]]:
    """The shapes of the outputs that joined the graph, and their largest difference from what the network gave alone,
    in a batch; raises GateError beyond the tolerance."""
    names = list(beside.outputs)
    joined, alone = (_session(network).run(names, {"image": images}) for network in (content, beside.network))
    pairs = list(zip(names, joined, alone, strict=True))
    errors = {name: _difference(name, len(images), found, expected) for name, found, expected in pairs}
    return {name: found.shape[1:] for name, found, _ in pairs}, errors


def _session(content: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def largest_difference(name: str, expected: NDArray[np.float32]) -> float:
    """By how much a map may differ from this one of the same network elsewhere."""
    return (MAGNIFIED if name in UNTRAINED else TOLERANCE) * max(1.0, float(np.abs(expected).max()))


def _difference(name: str, batch: int, found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    if found.shape != expected.shape:
        raise GateError(f"ONNX gives '{name}' the shape {found.shape} in a batch of {batch}, torch {expected.shape}")
    error = float(np.abs(found - expected).max())
    allowed = largest_difference(name, expected)
    if not error <= allowed:
        raise GateError(
            f"ONNX and torch differ on '{name}' by {error:.2e} in a batch of {batch} (at most {allowed:.2e}): "
            "the export of this network cannot be trusted"
        )
    return error
