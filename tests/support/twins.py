"""A small network of our kind, weights drawn at random: two branches, their difference whitened, its length the map.

The student's weights are the teacher's, a little changed, so that on any image both nearly agree; noise added to one
shows. Its first block has a residual sum and a depthwise convolution.
"""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgead import Bundle
from edgead.bundle import SCHEMA, Artifact, FusionSpec, InputSpec, Manifest, MapSpec, Member, Thresholds
from edgead.ops import to_input
from edgead_calibration.golden import encode_map
from edgead_calibration.probe import ProbeFrames, open_probe
from edgead_calibration.thresholds import fit_thresholds

SIDE = 32  # pixels; the map has a cell for 4 x 4 of them
WIDTH = 16  # channels
SPEC = InputSpec(height=SIDE, width=SIDE, scale=(1 / 128,) * 3, offset=(-1.0,) * 3)
UNFITTED = Thresholds(
    image=1.0, image_center=0.0, pixel=1.0, pixel_center=0.0,
    false_alarm_rate=0.05, images=0, interval=(0.0, 1.0), promised=False,
)  # fmt: skip


class _Graph:
    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[np.float32]] = {}

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def constant(self, name: str, values: object) -> str:
        self.constants[name] = np.asarray(values, np.float32)
        return name

    def conv(self, source: str, name: str, weight: NDArray[np.float64], relu: bool = True, **attributes: object) -> str:
        self.constant(f"{name}.weight", weight)
        self.constant(f"{name}.bias", np.zeros(len(weight)))
        pad = weight.shape[-1] // 2
        made = self.add("Conv", [source, f"{name}.weight", f"{name}.bias"], name, pads=[pad] * 4, **attributes)
        return self.add("Relu", [made], f"{name}.relu") if relu else made

    def weight(self, out: int, into: int, side: int) -> NDArray[np.float64]:
        return self.random.normal(0, np.sqrt(2 / (into * side * side)), (out, into, side, side))

    def branch(self, name: str, weights: list[NDArray[np.float64]], hostile: float) -> str:
        """Four convolutions. `hostile` enlarges one channel between two of them, and is undone by the second."""
        stem, depthwise, project, last = (one.copy() for one in weights)
        project[3] *= hostile
        last[:, 3] /= hostile
        first = self.conv("image", f"{name}.stem", stem, strides=[4, 4])
        spread = self.conv(first, f"{name}.block.depthwise", depthwise, group=WIDTH)
        mixed = self.conv(spread, f"{name}.block.project", project)
        kept = self.conv(first, f"{name}.shortcut", np.eye(WIDTH)[:, :, None, None] * 0.5, relu=False)
        enlarged = np.ones(WIDTH)
        enlarged[3] = hostile
        kept = self.add("Mul", [kept, self.constant(f"{name}.gain", enlarged[:, None, None])], f"{name}.kept")
        return self.conv(self.add("Add", [mixed, kept], f"{name}.sum"), f"{name}.last", last, relu=False)

    def model(self) -> onnx.ModelProto:
        cells = SIDE // 4
        graph = helper.make_graph(
            self.nodes,
            "twins",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["batch", cells, cells])],
            [numpy_helper.from_array(values, name) for name, values in self.constants.items()],
        )
        graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def network(hostile: float = 1.0) -> bytes:
    """The ONNX file; its statistics are those of `parts`."""
    graph = _Graph()
    w = WIDTH
    weights = [graph.weight(w, 3, 4), graph.weight(w, 1, 3), graph.weight(w, w, 1), graph.weight(w, w, 3)]
    weights[0] = np.pad(weights[0], ((0, 0), (0, 0), (0, 1), (0, 1)))
    changed = [one * (1 + graph.random.normal(0, 0.3, one.shape)) for one in weights]
    teacher, student = graph.branch("teacher", weights, hostile), graph.branch("student", changed, 1.0)
    graph.add("Sub", [teacher, student], "difference")
    white = graph.conv("difference", "white", np.eye(w)[:, :, None, None], relu=False)
    graph.add("Mul", [white, white], "squares")
    graph.add("ReduceMean", ["squares", "axis"], "mean", keepdims=0)
    root = graph.add("Sqrt", ["mean"], "root")
    cells = SIDE // 4
    above = graph.add("Sub", [root, graph.constant("usual", np.zeros((cells, cells)))], "above")
    graph.add("Div", [above, graph.constant("spread", np.ones((cells, cells)))], "distance")
    difference = _run(graph, "difference").transpose(0, 2, 3, 1).reshape(-1, w)
    values, vectors = np.linalg.eigh(np.cov(difference.T))
    turn = (vectors / np.sqrt(values)) @ vectors.T
    graph.constant("white.weight", turn[:, :, None, None])
    graph.constant("white.bias", -turn @ difference.mean(axis=0))
    distances = _run(graph, "root")
    graph.constant("usual", distances.mean(axis=0))
    graph.constant("spread", np.full((cells, cells), distances.std()))
    return graph.model().SerializeToString()


def _run(graph: _Graph, tensor: str) -> NDArray[np.float32]:
    model = graph.model()
    model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = np.stack([to_input(image, SPEC) for image in parts(32, 500)])
    found: NDArray[np.float32] = session.run([tensor], {"image": inputs})[0]
    return found


def part(seed: int, *, spoilt: bool = False) -> NDArray[np.uint8]:
    """A smooth picture that differs from part to part; a spoilt one has a hard white and black mark."""
    random = np.random.default_rng(seed)
    image = cv2.resize(random.normal(128, 40, (6, 6, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    if spoilt:
        y, x = random.integers(4, SIDE - 14, 2)
        image[y : y + 12, x : x + 12] = 255
        image[y : y + 12 : 2, x : x + 12] = 0
    return np.clip(image + random.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def parts(count: int, first: int = 0, *, spoilt: bool = False) -> list[NDArray[np.uint8]]:
    return [part(first + index, spoilt=spoilt) for index in range(count)]


def frames() -> ProbeFrames:
    """24 images that set ranges, 24 good and 12 spoilt ones to compare on."""
    return ProbeFrames(parts(24, 100), parts(24, 200), parts(12, 300, spoilt=True))


def bundle(content: bytes) -> Bundle:
    """A bundle of the network in FP32 with thresholds and two golden frames."""
    files = {"model.fp32.onnx": content}
    files |= {f"golden/{i}.png": cv2.imencode(".png", one)[1].tobytes() for i, one in enumerate(parts(2, 400))}
    artifact = Artifact(
        member="model.fp32.onnx", precision="fp32", thresholds=UNFITTED, good_scores=(), good_maxima=(),
        golden=(), tolerance=1e-4,
    )  # fmt: skip
    manifest = Manifest(
        schema=SCHEMA, name="twins", method="twins", input=SPEC,
        fusion=FusionSpec(maps=(MapSpec(name="distance"),), height=SIDE // 4, width=SIDE // 4),
        artifacts=(artifact,), golden_frames=(), members=dict.fromkeys(files, Member(sha256="", size=0)),
        provenance={"seed": 0},
    )  # fmt: skip
    with open_probe(Bundle(manifest, files, "0" * 64, None), content, artifact, "onnx") as detector:
        good = [detector.read(image) for image in parts(24, 200)]
        golden = [encode_map(detector.read(image).anomaly_map) for image in parts(2, 400)]
    scores, maxima = tuple(r.score for r in good), tuple(float(r.anomaly_map.max()) for r in good)
    files |= {f"golden/{i}.npy": one for i, one in enumerate(golden)}
    fitted = Artifact(
        member="model.fp32.onnx", precision="fp32", thresholds=fit_thresholds(scores, maxima, 0.05),
        good_scores=scores, good_maxima=maxima, golden=("golden/0.npy", "golden/1.npy"), tolerance=1e-4,
    )  # fmt: skip
    whole = Manifest(
        schema=SCHEMA, name="twins", method="twins", input=SPEC, fusion=manifest.fusion, artifacts=(fitted,),
        golden_frames=("golden/0.png", "golden/1.png"), provenance={"seed": 0},
        members=dict.fromkeys(files, Member(sha256="", size=0)),
    )  # fmt: skip
    return Bundle(whole, files, "0" * 64, None)
