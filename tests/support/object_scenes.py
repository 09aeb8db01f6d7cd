"""A real bundle that matches objects: four colored shapes on a dark ground, and the colors are the features."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import tiny
from onnx import TensorProto, helper

from edgead.bundle import (
    Artifact,
    Bundle,
    FusionSpec,
    InputSpec,
    KindSpec,
    Manifest,
    MatchingSpec,
    ProposalSpec,
    Scale,
    SlotSpec,
    Thresholds,
)
from edgead.bundle.store import list_members, write_bundle
from edgead.ops import to_input
from edgead_calibration.objects import FittedObjects, fit_objects, look

SIDE = 128
UNIT = Scale(center=0.0, spread=1.0)
PLACES = {"red": (32, 32), "green": (96, 32), "blue": (32, 96), "white": (96, 96)}
COLORS = {"red": (40, 40, 220), "green": (40, 200, 40), "blue": (220, 60, 40), "white": (230, 230, 230)}
INPUT = InputSpec(height=SIDE, width=SIDE, scale=(1 / 64,) * 3, offset=(-0.5,) * 3)
Shapes = list[tuple[str, int, int]]  # color and center


def usual(random: np.random.Generator) -> Shapes:
    """The shapes of a good scene, each near its place."""
    return [(name, *(int(at + random.integers(-3, 4)) for at in place)) for name, place in PLACES.items()]


def draw(shapes: Shapes, random: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8 BGR."""
    image = np.full((SIDE, SIDE, 3), 30, np.float32)
    for name, x, y in shapes:
        size = int(random.integers(11, 13))
        cv2.rectangle(image, (x - size, y - size), (x + size, y + size), COLORS[name], -1)
        if name in ("red", "white"):
            cv2.circle(image, (x - 4, y - 4), 4, (60, 60, 60), -1)
    return np.clip(image + random.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def good(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return draw(usual(random), random)


def graph() -> bytes:
    """`fine` and `coarse`: the colors on grids of 8 and 16 pixels; `components`: dark against bright, at 4 pixels."""
    pooled = [
        helper.make_node("AveragePool", ["image"], [name], kernel_shape=[cell, cell], strides=[cell, cell])
        for name, cell in (("fine", 8), ("coarse", 16), ("small", 4))
    ]
    nodes = [
        *pooled,
        helper.make_node("ReduceMax", ["small"], ["bright"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["level", "bright"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["components"], axis=1),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, SIDE // cell, SIDE // cell])
        for name, channels, cell in (("fine", 3, 8), ("coarse", 3, 16), ("components", 2, 4))
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    level = helper.make_tensor("level", TensorProto.FLOAT, [], [1.0])
    model = helper.make_model(
        helper.make_graph(nodes, "scenes", [image], outputs, [level]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def outputs_of(image: np.ndarray) -> dict[str, np.ndarray]:
    """What `graph` gives of an image."""
    tensor = to_input(image, INPUT)

    def pooled(cell: int) -> np.ndarray:
        return tensor.reshape(3, SIDE // cell, cell, SIDE // cell, cell).mean((2, 4))

    bright = pooled(4).max(axis=0)
    return {"fine": pooled(8), "coarse": pooled(16), "components": np.stack([1 - bright, bright])}


def draft(**changes: object) -> MatchingSpec:
    """What is chosen, and stand-ins for what is fitted."""
    proposals = ProposalSpec(source="ground", count=1, smallest=0.0, largest=1.0, classes=2, ground=(0,))
    kind = KindSpec(name="object", appearance=UNIT, place=UNIT, size=UNIT, surface=UNIT, area=1.0)
    fields: dict[str, object] = {
        "proposals": proposals, "features": ("fine", "coarse"), "height": 32, "width": 32, "descriptor": "gated",
        "box": 4, "bank_height": 4, "bank_width": 4, "neighbors": 3, "match": "sinkhorn", "measure": "aligned",
        "iterations": 50, "temperature": 1.0, "dustbin": 0.0, "place": 0.0, "area": 0.0, "notable": 1.0, "extra": 1.0,
        "missing": 1.0, "weight": 1.0, "kinds": (kind,), "slots": (SlotSpec(kind=0, x=0.5, y=0.5, spread=1.0),),
        "logical": UNIT, "structural": UNIT,
    }  # fmt: skip
    return MatchingSpec(**{**fields, **changes})  # type: ignore[arg-type]


@lru_cache(maxsize=8)
def fitted(count: int = 24, most: int = 100, lacking: int = 0, **changes: object) -> FittedObjects:
    """The matching fitted to so many good scenes, and to some `lacking` a shape."""
    spec = draft(**changes)
    random = np.random.default_rng(100)
    images = [good(seed) for seed in range(count)] + [draw(usual(random)[:-1], random) for _ in range(lacking)]
    seen = [look(image, outputs_of(image), spec) for image in images]
    return fit_objects(seen, ({} for _ in images), FusionSpec(maps=(), height=16, width=16, matching=spec), most, 0)


def bundle(**changes: object) -> Bundle:
    """A bundle of it without golden frames, not written."""
    found = fitted(**changes)
    members = {"fp32.onnx": graph(), **found.members}
    scores = tuple(found.scores.tolist())
    thresholds = Thresholds(
        image=max(scores) + 2, image_center=float(np.median(scores)), pixel=float(found.maxima.max()) + 1,
        pixel_center=float(np.median(found.maxima)), false_alarm_rate=0.01, images=len(scores), interval=(0.0, 0.1),
        promised=False,
    )  # fmt: skip
    network = Artifact(
        member="fp32.onnx", precision="fp32", thresholds=thresholds, good_scores=scores,
        good_maxima=tuple(found.maxima.tolist()), golden=(), tolerance=1e-4,
    )  # fmt: skip
    base = tiny.manifest()
    manifest = Manifest(**{
        **msgspec.structs.asdict(base), "name": "scenes", "method": "sam_lad", "input": INPUT, "fusion": found.fusion,
        "artifacts": (network,), "members": list_members(members),
    })  # fmt: skip
    return Bundle(manifest, members)


def write(path: Path) -> Bundle:
    """The bundle as a file."""
    made = bundle()
    return write_bundle(path, made.manifest, made.members())
