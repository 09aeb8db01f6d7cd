"""What every method of the table must keep: from good images to a graph whose maps show a planted defect."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import boards
import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import published
import pytest
import torch
from numpy.typing import NDArray
from rtx import library, parse

from edgead.bundle.draft import BundleDraft, DraftNetwork, DraftSpec
from edgead.bundle.manifest import FusionSpec
from edgead.engines.contract import channels_of
from edgead.engines.onnx import OnnxEngine
from edgead.ops import fuse, image_score, to_input
from edgead.tensorrt.build import Options, build
from edgead.tensorrt.layers import count, precision_mismatches
from edgead_calibration import networks
from edgead_calibration.recipe import load_recipe
from edgead_calibration.rules import violations
from edgead_tools.backbones.weights import WEIGHTS
from edgead_tools.export.network import ExportReport, export, largest_difference
from edgead_tools.export.program import in_half, make_program, output_names
from edgead_tools.methods import Method, Trained, create_method, joined, presets_by_method
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64
STEPS = 10
NEW = 100  # seed of the first image that no method has seen
CHEAP = {  # options of the published models, which are large
    ("ast_mfr", "paper"): {"batch": 2},
    ("csad", "paper"): {"turns": 2},
    ("sam_lad", "paper"): {"points": 1, "sam_side": 64, "rated": -100, "stable": 0.01, "bank_cells": 8},
}
TARGETS = (86, 89, 120)  # of GeForce RTX 30, 40 and 50
UNTRAINED = ("auto", "sam_lad")  # made with a budget of 0: the memory alone, and objects
MARGIN = 1.0  # of clean scores' spread between the strangest clean image and the least strange bad one

ALL = [(name, preset) for name, presets in presets_by_method().items() for preset in presets]
PRETRAINED = [(name, preset) for name, preset in ALL if preset == "edge"]  # the others' real weights are no package
Maps = dict[str, NDArray[np.float32]]


class Made(NamedTuple):
    """One method's whole way, gone once."""

    method: Method
    trained: Trained
    report: ExportReport
    session: ort.InferenceSession

    def inputs(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack([to_input(image, self.trained.input) for image in images])

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """The graph's maps of all images in one batch."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {"image": self.inputs(images)}), strict=True))

    def scores(self, images: NDArray[np.uint8]) -> list[float]:
        maps, spec = self.maps(images), self.trained.fusion
        if spec.matching is not None:  # which is no map
            return [reading.score for reading in self.engine().infer(list(images))]
        return [
            image_score(fuse({name: array[index] for name, array in maps.items()}, spec), spec)
            for index in range(len(images))
        ]

    def engine(self) -> OnnxEngine:
        """The engine on a draft of its bundle."""
        spec = DraftSpec("made", self.method.name, self.trained.input, self.trained.fusion, DraftNetwork("model.onnx"))
        members = {"model.onnx": self.report.path.read_bytes(), **self.trained.members}
        return OnnxEngine(BundleDraft(spec, members, {}), threads=1)


@pytest.fixture(scope="module", params=ALL, ids=" ".join)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("-".join(request.param))
    method = create_method(*request.param, CHEAP.get(request.param, {}))
    images = boards.training_images(16, 8, SIZE)
    with pytest.MonkeyPatch.context() as patch:
        published.make_shallow(patch)
        patch.setattr(joined, "gain", lambda after, before: (0.1, 0.01))  # students stay, so that the graph has all
        published.write_weights(folder, method.weights)
        limit = {"budget": 0.0} if method.name in UNTRAINED else {"steps": STEPS}
        trained = method.train(images, Run(folder, threads=1, weights=folder, **limit))
    report = export(trained, folder / "model.onnx", images.calibration)
    yield Made(method, trained, report, ort.InferenceSession(report.path, providers=["CPUExecutionProvider"]))
    shutil.rmtree(folder)  # nearly a gigabyte of a published model


def test_its_name_is_the_tables_and_its_options_are_plain(made: Made) -> None:
    again = create_method(made.method.name, made.method.preset, {})
    assert type(made.method) is type(again)
    assert made.method.size % 32 == 0
    assert set(made.method.weights) <= set(WEIGHTS)
    json.dumps(msgspec.to_builtins(made.method))


def test_what_it_trained_is_on_the_cpu_in_fp32_and_at_rest(made: Made) -> None:
    network = made.trained.network
    assert not any(module.training for module in network.modules())
    for tensor in network.state_dict().values():
        assert tensor.device.type == "cpu"
        assert tensor.dtype == torch.float32 or not tensor.is_floating_point()
        assert torch.isfinite(tensor).all()


def test_its_input_is_what_it_was_given(made: Made) -> None:
    spec = made.trained.input
    assert (spec.height, spec.width) == (SIZE, SIZE)
    assert np.isfinite((*spec.scale, *spec.offset)).all()
    assert min(spec.scale) > 0


def test_its_program_gives_the_graphs_maps_and_can_be_half(made: Made) -> None:
    program = make_program(made.trained)
    images = boards.boards(2, SIZE, NEW)
    with torch.inference_mode():
        found = program.module()(torch.from_numpy(made.inputs(images)))
    for name, expected in made.maps(images).items():
        assert np.abs(found[name].numpy() - expected).max() <= largest_difference(name, expected)
    if made.method.name == "sam_lad":  # objects are matched on the CPU: neither this nor TensorRT is offered
        return
    assert output_names(in_half(program)) == output_names(program)  # to run it takes a CPU long


def test_its_maps_are_finite_and_the_fusion_names_them(made: Made) -> None:
    with torch.inference_mode():
        maps = made.trained.network(torch.from_numpy(made.inputs(boards.boards(3, SIZE, NEW))[:, ::-1].copy()))
    for name, tensor in maps.items():
        assert tensor.ndim == (4 if name == "components" or name in channels_of(made.trained.fusion) else 3)
        assert (len(tensor), tensor.dtype) == (3, torch.float32)
        assert torch.isfinite(tensor).all()
    assert {part.name for part in made.trained.fusion.maps} <= set(maps)
    assert made.report.outputs == {name: tuple(tensor.shape[1:]) for name, tensor in maps.items()}


def test_the_graph_gives_torchs_maps_for_unlike_images_in_a_batch(made: Made) -> None:
    images = np.concatenate([boards.boards(2, SIZE, NEW), scratched(2), np.zeros((1, SIZE, SIZE, 3), np.uint8)])
    found = made.maps(images)
    with torch.inference_mode():
        for index, image in enumerate(made.inputs(images)):
            alone = made.trained.network(torch.from_numpy(image[None, ::-1].copy()))
            for name, tensor in alone.items():
                expected = tensor[0].numpy()
                allowed = largest_difference(name, expected)
                np.testing.assert_allclose(found[name][index], expected, rtol=0, atol=allowed)


def test_the_export_is_within_its_tolerance(made: Made) -> None:
    assert set(made.report.errors) == set(made.report.outputs)
    largest = made.maps(boards.training_images(16, 8, SIZE).calibration)  # logits of classes may be large
    for name, error in made.report.errors.items():
        assert error <= largest_difference(name, largest[name])


def test_the_fusion_survives_the_manifest_and_gives_one_map(made: Made) -> None:
    spec = msgspec.json.decode(msgspec.json.encode(made.trained.fusion), type=FusionSpec)
    assert spec == made.trained.fusion
    maps = made.maps(boards.boards(1, SIZE, NEW))
    fused = fuse({name: array[0] for name, array in maps.items()}, spec)
    assert fused.shape == (spec.height, spec.width)
    assert fused.dtype == np.float32
    assert np.isfinite(fused).all()
    assert float(fused.mean()) <= image_score(fused, spec) <= float(fused.max()) + 1e-6


def scratched(count: int) -> NDArray[np.uint8]:
    return np.stack([boards.board(NEW + index, SIZE, scratched=True) for index in range(count)])


@pytest.mark.parametrize("made", PRETRAINED, ids=" ".join, indirect=True)
def test_a_planted_defect_scores_above_clean_images(made: Made) -> None:
    clean, bad = made.scores(boards.boards(8, SIZE, NEW)), made.scores(scratched(4))
    assert min(bad) > max(clean) + MARGIN * np.std(clean)


@pytest.mark.parametrize("made", PRETRAINED, ids=" ".join, indirect=True)
def test_the_map_is_highest_at_the_defect(made: Made) -> None:
    maps, spec = made.maps(scratched(1)), made.trained.fusion
    clean = made.maps(boards.boards(1, SIZE, NEW))
    one, other = (fuse({name: array[0] for name, array in each.items()}, spec) for each in (maps, clean))
    y, x = np.unravel_index(np.argmax(one - other), one.shape)
    cell = SIZE / spec.height
    assert SIZE / 4 - cell <= (y + 0.5) * cell <= SIZE / 3 + cell  # where boards.board scratches
    assert SIZE / 3 - cell <= (x + 0.5) * cell <= 3 * SIZE / 4 + cell


@pytest.fixture(scope="module")
def precisions(made: Made) -> dict[str, bytes]:
    """The method's networks for TensorRT."""
    network, inputs = made.report.path.read_bytes(), [one[None] for one in made.inputs(boards.boards(4, SIZE))]
    makers = {"fp16": networks.fp16(network, inputs), "int8": networks.int8(network, inputs, load_recipe("rtx").int8)}
    return {"fp32": network} | {name: maker.make(()) for name, maker in makers.items()}


def test_its_int8_and_fp16_graphs_are_tensorrts(made: Made, precisions: dict[str, bytes]) -> None:
    whole = size_but_patches(precisions["fp32"])
    for name in ("fp16", "int8"):
        assert violations(precisions[name]) == []
        assert parse(precisions[name]) == []
        assert size_but_patches(precisions[name]) < 0.7 * whole


def size_but_patches(network: bytes) -> int:
    """Bytes of a network without the memories' patches, which stay FP32 for TensorRT."""
    weights = onnx.load_from_string(network).graph.initializer
    return len(network) - sum(4 * math.prod(one.dims) for one in weights if one.name.endswith(".patches"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_rtx_builds_it_for_every_target_and_runs_what_was_asked_for(
    made: Made, precisions: dict[str, bytes], precision: str
) -> None:
    if made.method.name == "sam_lad":
        pytest.skip("`edgead compile` refuses it: objects are matched on the CPU")
    tensorrt_rtx = library()
    for capability in TARGETS if made.method.preset == "edge" else TARGETS[-1:]:
        built = build(tensorrt_rtx, precisions[precision], Options((1, 4), capability))
        assert precision_mismatches(built.requested, built.layers) == []
        products = count(built.requested)
        assert products[precision] > sum(products.values()) / 2, products
        asked = {port.name: port.shape for port in built.ports}
        assert asked == {"image": (-1, 3, SIZE, SIZE)} | {
            name: (-1, *shape) for name, shape in made.report.outputs.items()
        }


def test_the_report_goes_into_a_bundles_card(made: Made) -> None:
    report = json.loads(json.dumps(made.trained.report))
    assert report["steps"] == (0 if made.method.name in UNTRAINED else STEPS)
    assert report["seconds"] > 0
    assert [weights["name"] for weights in report["weights"]] == list(made.method.weights)
    for weights in report["weights"]:
        assert weights["license"]
        assert len(weights["sha256"]) == 64
    assert "/" not in "".join(str(weights["file"]) for weights in report["weights"])
