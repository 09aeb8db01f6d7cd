"""Writes a bundle as one self-contained ONNX graph, for runtimes that know nothing of bundles.

frame -> resize -> normalize -> the bundle's network -> fuse -> score, all as standard ONNX operators: what `edgead.ops`
does around the network becomes part of the graph, with the thresholds. The graph is compared with the bundle's own
engine before it is written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgead import Bundle, Detector, ops
from edgead.bundle import Artifact
from edgead.bundle.input_spec import InputSpec, TileSpec
from edgead.bundle.manifest import ComponentSpec, FusionSpec
from edgead.bundle.structs import Scale
from edgead.errors import GateError, UsageError
from edgead.files import write_file
from edgead.types import ImageU8
from edgead.verify import golden_frame

ENGINE = "onnx"  # whose networks are plain ONNX
FRAME, SCORE, MAP, ANOMALOUS = "frame", "score", "anomaly_map", "is_anomalous"
PREFIX = "edgead_standalone_"  # of every name that is added
LARGEST_SIDE = 16384  # pixels of a frame
WEIGHT = 1 << 11  # of a pixel that is taken as it is, where OpenCV interpolates
TOLERANCE = 0.01  # of the way from a typical good part to the threshold


def export_onnx(
    bundle: Bundle, path: Path, *, precision: str = "auto", frame_size: tuple[int, int] | None = None
) -> float:
    """Write `bundle` to `path`, and return the largest difference from the bundle's own engine on the golden frames.

    The graph takes `frame`, uint8 (1, H, W, 3) BGR, where (W, H) is `frame_size`, or the size of the network's input
    where that is None and the caller resizes. It gives `score`, float32 (1,), 0 for a typical good part and 1 at the
    threshold; `anomaly_map`, float32 (1, h, w), likewise for the pixel threshold; and `is_anomalous`, bool (1,). The
    difference is in these units.

    Raises UsageError for a size that cannot be, BundleError where there is no such network, GateError where the graph
    does not judge as the bundle does; then nothing is written.
    """
    if frame_size is not None and not all(1 <= side <= LARGEST_SIDE for side in frame_size):
        raise UsageError(f"frames of {frame_size[0]}x{frame_size[1]} are outside 1..{LARGEST_SIDE} pixels")
    artifact = bundle.manifest.artifact(precision, ENGINE)
    raw = standalone(bundle, artifact, frame_size).SerializeToString()
    error = _largest_difference(raw, bundle, artifact, frame_size)
    thresholds = artifact.thresholds
    allowed = max(TOLERANCE, artifact.tolerance / (thresholds.pixel - thresholds.pixel_center))
    if not error <= allowed:
        raise GateError(
            f"the exported graph differs by {error:.3g} from the bundle, {allowed:.3g} are allowed: nothing was written"
        )
    write_file(path, raw)
    return error


def parse_frame(text: str) -> tuple[int, int]:
    """(W, H) of `1920x1080`; raises UsageError for anything else."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"a frame's size is its width and height, such as 1920x1080, not '{text}'")
    return int(width), int(height)


def standalone(bundle: Bundle, artifact: Artifact, frame_size: tuple[int, int] | None = None) -> ModelProto:
    """The graph of `export_onnx` around the network of `artifact`."""
    fusion, spec, thresholds = bundle.manifest.fusion, bundle.manifest.input, artifact.thresholds
    if fusion.matching is not None:
        raise UsageError(f"'{bundle.manifest.name}' matches objects, which no graph holds: judge with edgead itself")
    width, height = frame_size or spec.frame[::-1]
    network = onnx.load_from_string(bundle.read(artifact.member))
    nodes = _Nodes()
    _prepare(nodes, spec, (height, width), network.graph.input[0].name)
    nodes.take(network)
    fused = _fuse(nodes, spec, fusion, ops.load_mask(bundle))
    raw = _image_score(nodes, fusion, fused)
    components = ops.load_components(bundle)
    if components is not None:
        raw = _add_components(nodes, components, raw)
    nodes.linear(raw, Scale(center=thresholds.image_center, spread=thresholds.image - thresholds.image_center), SCORE)
    nodes.linear(fused, Scale(center=thresholds.pixel_center, spread=thresholds.pixel - thresholds.pixel_center), MAP)
    nodes.add("Greater", [SCORE, nodes.constant(np.float32(1))], ANOMALOUS)

    outputs = [
        helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info(MAP, TensorProto.FLOAT, [1, fusion.height, fusion.width]),
        helper.make_tensor_value_info(ANOMALOUS, TensorProto.BOOL, [1]),
    ]
    frame = helper.make_tensor_value_info(FRAME, TensorProto.UINT8, [1, height, width, 3])
    model = helper.make_model(
        helper.make_graph(nodes.nodes, "edgead", [frame], outputs, nodes.constants),
        opset_imports=network.opset_import,
        ir_version=network.ir_version,
        producer_name="edgead",
    )
    told = {"bundle": bundle.manifest.name, "digest": bundle.digest, "method": bundle.manifest.method}
    helper.set_model_props(model, {f"edgead_{key}": value for key, value in told.items()})
    onnx.checker.check_model(model)
    return model


class _Nodes:
    """The nodes and constants of a graph as it grows; every value that is added has a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._names = 0

    def take(self, model: ModelProto) -> None:
        """Add the nodes and constants of a whole graph."""
        self.nodes.extend(model.graph.node)
        self.constants.extend(model.graph.initializer)

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return that."""
        output = output or self._name()
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, values: object) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), self._name()))
        return self.constants[-1].name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def rounded(self, value: str) -> str:
        """To the nearest whole number, halves upward, as OpenCV rounds pixels."""
        return self.add("Floor", [self.add("Add", [value, self.constant(np.float32(0.5))])])

    def resized(self, value: str, height: int, width: int) -> str:
        """(1, C, h, w) interpolated bilinearly to (1, C, height, width): half-pixel centers, edges replicated."""
        sizes = self.add("Concat", [self.add("Shape", [value], start=0, end=2), self.integers(height, width)], axis=0)
        return self.add("Resize", [value, "", "", sizes], mode="linear", coordinate_transformation_mode="half_pixel")

    def linear(self, value: str, scale: Scale, output: str = "") -> str:
        """`(value - center) / spread`."""
        apart = self.add("Sub", [value, self.constant(np.float32(scale.center))])
        return self.add("Div", [apart, self.constant(np.float32(scale.spread))], output)

    def _name(self) -> str:
        self._names += 1
        return f"{PREFIX}{self._names}"


def _prepare(nodes: _Nodes, spec: InputSpec, size: tuple[int, int], output: str) -> None:
    """`edgead.ops.to_input` for frames of `size` (H, W)."""
    pixels = nodes.add("Cast", [nodes.add("Transpose", [FRAME], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT)
    (height, width), whole = size, spec.frame
    while height >= 2 * whole[0] and width >= 2 * whole[1]:
        height, width = height // 2, width // 2
        ends, axes = nodes.integers(2 * height, 2 * width), nodes.integers(2, 3)
        even = nodes.add("Slice", [pixels, nodes.integers(0, 0), ends, axes])
        pixels = nodes.rounded(nodes.add("AveragePool", [even], kernel_shape=[2, 2], strides=[2, 2]))
    if (height, width) != whole:
        pixels = _interpolated(nodes, pixels, (height, width), whole)
    scale, offset = (nodes.constant(np.array(row, np.float32).reshape(1, 3, 1, 1)) for row in (spec.scale, spec.offset))
    normal = nodes.add("Add", [nodes.add("Mul", [pixels, scale]), offset], "" if spec.tiles else output)
    if spec.tiles is not None:
        axes = nodes.integers(2, 3)
        tiles = []
        for rows, columns in ops.tile_places(spec.tiles, (spec.height, spec.width), whole):
            ends = nodes.integers(rows.stop, columns.stop)
            tiles.append(nodes.add("Slice", [normal, nodes.integers(rows.start, columns.start), ends, axes]))
        nodes.add("Concat", tiles, output, axis=0)


def _interpolated(nodes: _Nodes, pixels: str, size: tuple[int, int], whole: tuple[int, int]) -> str:
    """(1, C, H, W) of whole numbers interpolated bilinearly from `size` to `whole` as OpenCV does it with 8-bit pixels:
    by weights of 11 bits, cutting off 4 bits of each sum along a row and 16 of each product down the columns."""
    levels = nodes.add("Cast", [pixels], to=TensorProto.INT32)
    places, weights = _taps(size[1], whole[1])
    weights = np.where(places[0] == places[1], np.array([[WEIGHT], [0]], np.int32), weights)  # beyond the edges
    parts = [_weighed(nodes, levels, 3, *tap) for tap in zip(places, weights, strict=True)]
    across = nodes.add("Div", [nodes.add("Add", parts), nodes.constant(np.int32(16))])
    parts = [
        _weighed(nodes, across, 2, place, weight[:, np.newaxis])
        for place, weight in zip(*_taps(size[0], whole[0]), strict=True)
    ]
    cut = [nodes.add("Div", [part, nodes.constant(np.int32(1 << 16))]) for part in parts]
    quarters = nodes.add("Add", [nodes.add("Add", cut), nodes.constant(np.int32(2))])
    return nodes.add("Cast", [nodes.add("Div", [quarters, nodes.constant(np.int32(4))])], to=TensorProto.FLOAT)


def _weighed(nodes: _Nodes, levels: str, axis: int, place: NDArray[np.int64], weight: NDArray[np.int32]) -> str:
    return nodes.add("Mul", [nodes.add("Gather", [levels, nodes.constant(place)], axis=axis), nodes.constant(weight)])


def _taps(count: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The places of the two pixels that each of `wanted` is made of, (2, wanted), and their weights."""
    at = ((np.arange(wanted) + 0.5) * (count / wanted) - 0.5).astype(np.float32)
    first = np.floor(at)
    share = at - first
    places = np.stack([first, first + 1]).clip(0, count - 1).astype(np.int64)
    return places, np.rint(np.stack([1 - share, share]) * WEIGHT).astype(np.int32)


def _fuse(nodes: _Nodes, source: InputSpec, spec: FusionSpec, mask: NDArray[np.float32] | None) -> str:
    """`edgead.ops.fuse_batch`: the fused map (1, h, w)."""
    axes, fused = nodes.integers(1), ""
    cells = ops.tile_cells(source, spec.height, spec.width)
    for part in spec.maps:
        factor, offset = np.float32(part.weight * part.scale), np.float32(part.weight * part.offset)
        scaled = nodes.add("Mul", [part.name, nodes.constant(factor)])
        scaled = nodes.add("Unsqueeze", [nodes.add("Add", [scaled, nodes.constant(offset)]), axes])
        scaled = nodes.resized(scaled, *cells)
        fused = nodes.add("Add" if spec.combine == "sum" else "Mul", [fused, scaled]) if fused else scaled
    if source.tiles is not None:
        fused = _blend(nodes, source.tiles, spec, cells, fused)
    if spec.sigma > 0:
        reach = math.ceil(3 * spec.sigma)
        kernel = np.asarray(cv2.getGaussianKernel(2 * reach + 1, spec.sigma, cv2.CV_32F), np.float32)
        fused = nodes.add("Pad", [fused, nodes.integers(0, 0, reach, reach, 0, 0, reach, reach)], mode="edge")
        for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
            fused = nodes.add("Conv", [fused, nodes.constant(kernel.reshape(shape))])
    if mask is not None:
        fused = nodes.add("Mul", [fused, nodes.constant(mask[np.newaxis, np.newaxis])])
    return nodes.add("Squeeze", [fused, axes])


def _blend(nodes: _Nodes, tiles: TileSpec, spec: FusionSpec, cells: tuple[int, int], maps: str) -> str:
    """`edgead.ops.blend`: (T, 1, h, w) of tiles to (1, 1, height, width) of the frame."""
    weights = ops.tile_weights(tiles, cells, (spec.height, spec.width))
    weighted = nodes.add("Mul", [maps, nodes.constant(weights[:, np.newaxis])])
    parts = []
    for index, (rows, columns) in enumerate(ops.tile_places(tiles, cells, (spec.height, spec.width))):
        one = nodes.add("Slice", [weighted, nodes.integers(index), nodes.integers(index + 1), nodes.integers(0)])
        after = spec.height - rows.stop, spec.width - columns.stop
        parts.append(nodes.add("Pad", [one, nodes.integers(0, 0, rows.start, columns.start, 0, 0, *after)]))
    return nodes.add("Sum", parts)


def _image_score(nodes: _Nodes, spec: FusionSpec, fused: str) -> str:
    """`edgead.ops.image_score`: (1,)."""
    cells = spec.height * spec.width
    flat = nodes.add("Reshape", [fused, nodes.integers(1, cells)])
    largest, where = f"{PREFIX}largest", f"{PREFIX}where"
    count = nodes.integers(min(spec.score.top, cells))
    nodes.nodes.append(helper.make_node("TopK", [flat, count], [largest, where]))
    return nodes.add("Reshape", [nodes.add("ReduceMean", [largest], keepdims=0), nodes.integers(1)])


def _add_components(nodes: _Nodes, components: ops.Components, structural: str) -> str:
    """`edgead.ops.judge_components`: the sum of both branches, (1,)."""
    spec, total = components.spec, ""
    present = _present(nodes, spec)
    for one, fitted in zip(spec.histograms, components.statistics, strict=True):
        cell = [spec.height // one.rows, spec.width // one.columns]
        shares = nodes.add("AveragePool", [present], kernel_shape=cell, strides=cell)
        entries = nodes.add("Reshape", [nodes.add("Transpose", [shares], perm=[0, 2, 3, 1]), nodes.integers(1, -1)])
        apart = nodes.add("Sub", [entries, nodes.constant(fitted.mean)])
        projected = nodes.add("MatMul", [apart, nodes.constant(np.ascontiguousarray(fitted.factor.T))])
        squared = nodes.add("ReduceMean", [nodes.add("Mul", [projected, projected])], keepdims=0)
        squared = nodes.add("Mul", [squared, nodes.constant(np.float32(len(fitted.factor)))])
        far = nodes.linear(nodes.add("Sqrt", [squared]), one.scale)
        total = nodes.add("Add", [total, far]) if total else far
    logical = nodes.add("Reshape", [nodes.linear(total, spec.logical), nodes.integers(1)])
    if spec.least is not None:
        logical = nodes.add("Max", [logical, nodes.constant(np.array([spec.least], np.float32))])
    return nodes.add("Add", [logical, nodes.linear(structural, spec.structural)])


def _present(nodes: _Nodes, spec: ComponentSpec) -> str:
    """Whether each cell has the label of each component but the background, (1, K - 1, h, w) of 0.0 and 1.0."""
    labels = nodes.add("ArgMax", [nodes.resized(ops.COMPONENTS, spec.height, spec.width)], axis=1, keepdims=1)
    wanted = nodes.constant(np.arange(1, len(spec.names), dtype=np.int64).reshape(1, -1, 1, 1))
    return nodes.add("Cast", [nodes.add("Equal", [labels, wanted])], to=TensorProto.FLOAT)


def _largest_difference(raw: bytes, bundle: Bundle, artifact: Artifact, frame_size: tuple[int, int] | None) -> float:
    """Between the graph and the bundle's own engine over the golden frames, in calibrated scores and map values."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session: Any = ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    spec, worst = bundle.manifest.input, 0.0
    with Detector(bundle, engine=ENGINE, precision=artifact.precision) as detector:
        for name in bundle.manifest.golden_frames:
            image: ImageU8 = golden_frame(bundle, name)
            if frame_size is None:
                image = ops.resize(image, *spec.frame)
            else:
                image = np.asarray(cv2.resize(image, frame_size), np.uint8)
            expected = detector(image)
            score, grid_map = session.run([SCORE, MAP], {FRAME: image[np.newaxis]})
            differences = np.append(np.abs(grid_map[0] - expected.grid_map), abs(score[0] - expected.score))
            worst = max(worst, float(differences.max(initial=0.0)))
            if not np.isfinite(differences).all():
                return math.inf
    return worst
