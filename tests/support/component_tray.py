"""A real bundle with components: on a blue tray lie a green bolt and a red nut, and the colors are the logits."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import tiny
from onnx import TensorProto, helper

from edgead.bundle import Bundle, ComponentSpec, HistogramSpec, Member, Scale
from edgead.bundle.store import write_bundle
from edgead.ops.components import count_components

NAMES = ("tray", "bolt", "nut")  # in the order of BGR
SIDE = tiny.SIZE


def graph(classes: int = len(NAMES), rank: int = 4) -> bytes:
    """`distance` as in `tiny.graph`, and the image as the logits; other arguments break the contract."""
    model = onnx.load_from_string(tiny.graph())
    names = ["image"] if classes == len(NAMES) else ["image", "image"]
    model.graph.node.append(helper.make_node("Concat", names, ["logits"], axis=1))
    model.graph.node.append(
        helper.make_node("Identity", ["logits"], ["components"])
        if rank == 4
        else helper.make_node("ReduceMax", ["logits"], ["components"], axes=[1], keepdims=0)
    )
    shape = ["batch", classes, SIDE, SIDE] if rank == 4 else ["batch", SIDE, SIDE]
    model.graph.output.append(helper.make_tensor_value_info("components", TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def labels(bolt: int = 8, nut: int = 8) -> np.ndarray:
    """A bolt of 8x8 cells at the top left and a nut at the bottom right, or so many rows of them."""
    cells = np.zeros((SIDE, SIDE), np.uint8)
    cells[2 : 2 + bolt, 2:10] = 1
    cells[20 : 20 + nut, 20:28] = 2
    return cells


def frame(cells: np.ndarray) -> np.ndarray:
    """The picture of those labels, (SIDE, SIDE, 3) BGR uint8."""
    colors = np.array([(60, 40, 40), (40, 60, 40), (40, 40, 60)], np.uint8)
    return colors[cells]


def spec(**changes: object) -> ComponentSpec:
    fields: dict[str, object] = {
        "names": NAMES,
        "height": SIDE,
        "width": SIDE,
        "histograms": (
            HistogramSpec(rows=1, columns=1, statistics="components/1x1.npy", scale=Scale(center=1.0, spread=0.5)),
            HistogramSpec(rows=2, columns=2, statistics="components/2x2.npy", scale=Scale(center=2.0, spread=4.0)),
        ),
        "logical": Scale(center=-1.0, spread=2.0),
        "structural": Scale(center=0.25, spread=0.125),
    }
    return ComponentSpec(**{**fields, **changes})  # type: ignore[arg-type]


def members() -> dict[str, bytes]:
    """The network, and statistics of which `labels()` is the mean and a hundredth of the area the deviation."""
    values = {"fp32.onnx": graph()}
    for side in (1, 2):
        usual = count_components(labels(), len(NAMES), side, side).ravel()
        rows = np.concatenate([[usual, np.full(len(usual), 0.01)], 100 * np.eye(len(usual))])
        values[f"components/{side}x{side}.npy"] = tiny.npy(rows.astype(np.float32))
    return values


def bundle(components: ComponentSpec | None = None, contents: dict[str, bytes] | None = None) -> Bundle:
    """The bundle in memory, with that spec and with members in place of its own."""
    fusion = msgspec.structs.replace(tiny.manifest().fusion, components=components or spec())
    held = members() | (contents or {})
    listed = {name: Member(sha256="", size=0) for name in held}
    return Bundle(tiny.manifest(fusion=fusion, members=listed), held, "0" * 64, None)


def write(path: Path, components: ComponentSpec | None = None) -> Bundle:
    """The bundle as a file."""
    whole = bundle(components)
    return write_bundle(path, whole.manifest, whole.members())
