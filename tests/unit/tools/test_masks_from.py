"""Objects that are pieces of another bundle's components: its network joins the graph, and what it sees is matched."""

from __future__ import annotations

from pathlib import Path

import component_tray
import msgspec
import numpy as np
import onnx
import pytest
import tiny
from object_scenes import COLORS, SIDE, draw, good, usual
from onnx import TensorProto, helper, numpy_helper

from edgead.bundle import Bundle, ComponentSpec, HistogramSpec, InputSpec, MapSpec, Scale
from edgead.bundle.draft import BundleDraft, DraftNetwork, DraftSpec
from edgead.bundle.store import list_members, write_bundle
from edgead.config import BuildConfig
from edgead.engines.onnx import OnnxEngine
from edgead.errors import UsageError
from edgead_tools.backbones.efficientnet_lite import OFFSET, SCALE
from edgead_tools.export.network import OPSET, export
from edgead_tools.methods import Trained, TrainingImages, create_method
from edgead_tools.methods.memory import input_spec
from edgead_tools.pipeline.licenses import licenses_of
from edgead_tools.training.run import Run

NAMES = ("tray", *COLORS)
CELLS = SIDE // 4


def nearest_color() -> bytes:
    """`components`: the logits of the ground's color and of the four shapes'; `distance`: a map that says nothing."""
    colors = np.array([(30, 30, 30), *COLORS.values()], np.float32) * SCALE + OFFSET
    weight, bias = 2 * colors[:, :, None, None], -(colors**2).sum(axis=1)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["small", "weight", "bias"], ["components"]),
        helper.make_node("Conv", ["small", "nothing"], ["flat"]),
        helper.make_node("Squeeze", ["flat", "one"], ["distance"]),
    ]
    values = {"weight": weight, "bias": bias, "nothing": np.zeros((1, 3, 1, 1), np.float32), "one": np.array([1])}
    outputs = [
        helper.make_tensor_value_info("components", TensorProto.FLOAT, ["batch", len(NAMES), CELLS, CELLS]),
        helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["batch", CELLS, CELLS]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "colors", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def components(path: Path, spec: InputSpec) -> Path:
    """A bundle that knows the colors."""
    usual_areas = np.full(len(NAMES) - 1, 0.03, np.float32)
    statistics = np.concatenate([[usual_areas, np.full(len(usual_areas), 0.01)], 100 * np.eye(len(usual_areas))])
    members = {"fp32.onnx": nearest_color(), "components/1x1.npy": tiny.npy(statistics.astype(np.float32))}
    histogram = HistogramSpec(rows=1, columns=1, statistics="components/1x1.npy", scale=Scale(center=1.0, spread=0.5))
    scale = Scale(center=0.0, spread=1.0)
    found = ComponentSpec(
        names=NAMES, height=CELLS, width=CELLS, histograms=(histogram,), logical=scale, structural=scale
    )
    base = tiny.manifest()
    fusion = msgspec.structs.replace(
        base.fusion, maps=(MapSpec("distance"),), height=CELLS, width=CELLS, components=found
    )
    manifest = msgspec.structs.replace(
        base, method="csad", input=spec, fusion=fusion, members=list_members(members),
        provenance={"licenses": {"images": "own", "efficientnet-lite0": "Apache-2.0"}},
    )  # fmt: skip
    write_bundle(path, manifest, members)
    return path


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return components(tmp_path_factory.mktemp("colors") / "colors.edgead", input_spec((SIDE, SIDE)))


@pytest.fixture(scope="module")
def images() -> TrainingImages:
    made = np.stack([good(seed) for seed in range(20)])
    return TrainingImages(made[:14], made[14:])


@pytest.fixture(scope="module")
def trained(colors: Path, images: TrainingImages, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    method = create_method("sam_lad", "edge", {"masks_from": str(colors), "patches": 0})
    return method.train(images, Run(tmp_path_factory.mktemp("run"), budget=0, threads=1))


def test_objects_are_pieces_of_components_and_the_graph_has_both_networks(
    trained: Trained, images: TrainingImages, colors: Path, tmp_path: Path
) -> None:
    spec = trained.fusion.matching
    assert spec is not None
    assert (spec.proposals.source, spec.proposals.names, spec.proposals.count) == ("classes", NAMES, 4)
    assert spec.proposals.scenery is None
    assert trained.report["masks_from"] == {"name": "colors.edgead", "digest": Bundle.open(colors).digest}
    report = export(trained, tmp_path / "model.onnx", images.calibration)
    assert report.outputs["components"] == (len(NAMES), CELLS, CELLS)
    draft = DraftSpec("scenes", "sam_lad", trained.input, trained.fusion, DraftNetwork("model.onnx"))
    engine = OnnxEngine(BundleDraft(draft, {"model.onnx": report.path.read_bytes(), **trained.members}, {}), threads=1)
    random = np.random.default_rng(50)
    touching = usual(random)
    touching[1] = ("green", touching[0][1] + 24, touching[0][2])  # its color parts it from the red one all the same
    lacking = [shape for shape in usual(random) if shape[0] != "blue"]
    said = []
    for shapes in (usual(random), touching, lacking):
        (reading,) = engine.infer([draw(shapes, random)])
        assert reading.branches is not None
        said.append([found.change for found in reading.branches.objects])
    assert said == [[], ["moved"], ["missing"]]


def test_a_bundle_that_does_not_fit_is_refused_with_what_to_do(
    images: TrainingImages, tmp_path: Path, tiny_bundle: Path
) -> None:
    component_tray.write(tmp_path / "small.edgead")
    other = msgspec.structs.replace(input_spec((SIDE, SIDE)), scale=(1 / 64,) * 3)
    for path, sentence in (
        (tiny_bundle, "knows no components, so it has no masks: build it with --method csad"),
        (tmp_path / "small.edgead", "give --size 32x32"),
        (components(tmp_path / "other.edgead", other), "takes its images otherwise"),
    ):
        method = create_method("sam_lad", "edge", {"masks_from": str(path), "patches": 0})
        with pytest.raises(UsageError, match=sentence):
            method.train(images, Run(tmp_path, budget=0, threads=1))


def test_it_is_an_option_of_the_build_and_its_licenses_travel(colors: Path, tmp_path: Path) -> None:
    config = BuildConfig(method="sam_lad", data=str(tmp_path), masks_from=str(colors), data_license="own")
    method = create_method(config.method, config.preset, config.method_options)
    assert method.masks_from == str(colors)  # type: ignore[attr-defined]
    found = licenses_of(config, method, None)  # type: ignore[arg-type]
    assert found["masks' efficientnet-lite0"] == "Apache-2.0"
    with pytest.raises(UsageError, match="method 'stlm', preset 'edge', has no option 'masks_from'"):
        create_method("stlm", "edge", config.method_options)
