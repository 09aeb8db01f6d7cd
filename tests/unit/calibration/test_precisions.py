"""INT8 and FP16 of a small network: what is quantized, what a hostile channel does to it, and how it is repaired."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import twins

from edgead import Bundle, Detector
from edgead.bundle.store import write_bundle
from edgead.errors import UsageError
from edgead.ops import to_input
from edgead.progress import Reporter
from edgead.verify import verify
from edgead_calibration import networks
from edgead_calibration.fp16 import fp32_nodes, in_fp32, to_fp16
from edgead_calibration.gate import Tolerances
from edgead_calibration.layers import blocks, named
from edgead_calibration.precisions import PrecisionResult, add_precisions
from edgead_calibration.ranges import METHODS, Method, observe, quantize
from edgead_calibration.recipe import Int8, Recipe, load_recipe, names
from edgead_calibration.rules import violations
from edgead_calibration.statistics import FeatureStatistics, gaussian_map

HOSTILE = 2000.0  # how much larger one channel is than the others
LOOSE = Tolerances(map_largest=3.0, spearman=0.95, auroc=0.02)  # for random weights on few cells
INPUTS = [to_input(image, twins.SPEC)[None] for image in twins.parts(24, 100)]


@pytest.fixture(scope="module")
def plain() -> bytes:
    return twins.network()


@pytest.fixture(scope="module")
def hostile() -> bytes:
    return twins.network(HOSTILE)


def recipe(name: str = "cpu") -> Recipe:
    engines = ("onnx",) if name == "cpu" else ("tensorrt",)
    return msgspec.structs.replace(load_recipe(name), engines=engines, tolerances=LOOSE)


def run(network: bytes, *, unoptimized: bool = False) -> np.ndarray:
    options = ort.SessionOptions()
    if unoptimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    return session.run(["distance"], {"image": np.concatenate(INPUTS)})[0]


def test_what_follows_the_comparison_is_never_quantized(plain: bytes) -> None:
    found = blocks(named(plain))
    assert [block.name for block in found] == ["teacher", "teacher.last", "student", "student.last"]
    layers = [layer.name for block in found for layer in block.layers]
    assert "node_white" not in layers
    assert {"node_teacher.sum", "node_student.sum"} <= set(layers)
    assert [layer.name for block in found for layer in block.layers if layer.depthwise] == [
        "node_teacher.block.depthwise",
        "node_student.block.depthwise",
    ]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", ["cpu", "tensorrt"])
def test_int8_is_near_and_the_same_bytes_again(plain: bytes, method: Method, form: str) -> None:
    settings = Int8(form=form, method=method)  # type: ignore[arg-type]
    maker = networks.int8(plain, INPUTS, settings)
    made = maker.make(())
    assert made == networks.int8(plain, INPUTS, settings).make(())
    assert len(made) < len(plain)
    error = np.abs(run(made, unoptimized=True) - run(plain))
    assert 0 < error.mean() < 0.5  # in spreads of good parts
    assert networks.broken(maker, made, INPUTS, (1, 3)) == []
    assert maker.make([block.name for block in maker.blocks]).count(b"QuantizeLinear") == 0


def test_depthwise_layers_stay_where_a_recipe_says_so(plain: bytes) -> None:
    observed = observe(plain, INPUTS, "minmax")
    every, some = (
        onnx.load_from_string(quantize(observed, "tensorrt", depthwise=depthwise)) for depthwise in (True, False)
    )
    weights = [
        {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8} for model in (every, some)
    ]
    assert {name for name in weights[0] - weights[1] if "depthwise" in name}
    assert not any("depthwise.weight" in name for name in weights[1])


def test_refitted_statistics_take_up_the_noise_of_quantization(plain: bytes) -> None:
    coarse = quantize(observe(plain, INPUTS, "minmax"), "tensorrt")
    statistics = FeatureStatistics(plain, INPUTS, unoptimized=True)
    exact = run(plain)
    before, after = (np.abs(run(each, unoptimized=True) - exact).mean() for each in (coarse, statistics.refit(coarse)))
    assert after < 0.9 * before
    assert np.allclose(run(statistics.refit(plain)), exact, atol=1e-2)  # nothing to refit


def test_the_map_between_gaussians_carries_one_covariance_to_the_other() -> None:
    random = np.random.default_rng(0)
    source, target = (np.cov(random.normal(size=(5, 40))) for _ in range(2))
    turn = gaussian_map(source, target)
    assert np.allclose(turn, turn.T)
    assert np.allclose(turn @ source @ turn.T, target, atol=1e-4)
    assert np.allclose(gaussian_map(source, source), np.eye(5), atol=1e-4)


@pytest.mark.parametrize("name", ["cpu", "rtx"])
def test_a_hostile_channel_is_repaired_by_mixed_precision(hostile: bytes, name: str, tmp_path: Path) -> None:
    before = twins.bundle(hostile)
    manifest, members, trials = add_precisions(before, twins.frames(), recipe(name), Reporter(), precisions=["int8"])
    (trial,) = trials
    assert trial.shipped, trial.reason
    assert trial.reverted
    assert set(trial.reverted) <= {"teacher", "teacher.last"}
    assert 0.3 < trial.share < 1
    assert min(trial.effects["teacher"], trial.effects["teacher.last"]) > 0
    assert max(trial.effects.values()) > 10 * trial.effects["student.last"]
    bundle = write_bundle(tmp_path / "mixed.edgead", manifest, members)
    int8 = bundle.manifest.artifact("int8")
    assert int8.good_scores != bundle.manifest.artifact("fp32").good_scores
    assert int8.thresholds != bundle.manifest.artifact("fp32").thresholds
    assert len(int8.golden) == 2
    assert bundle.manifest.provenance["precisions"]["trials"] == msgspec.json.decode(msgspec.json.encode([trial]))
    if name == "cpu":
        with Detector(bundle, engine="onnx", precision="int8") as detector:
            assert all(check.passed for check in verify(bundle, detector))


def test_without_the_repair_a_hostile_channel_is_refused_with_the_reason(hostile: bytes) -> None:
    before = twins.bundle(hostile)
    manifest, members, (trial,) = add_precisions(before, twins.frames(), recipe(), Reporter(), mixed=False)
    assert not trial.shipped
    assert "allowed" in trial.reason
    assert trial.comparison is not None
    assert trial.comparison.map_mean > LOOSE.map_mean
    assert [artifact.precision for artifact in manifest.artifacts] == ["fp32"]
    assert members == before.members()


def test_a_precision_is_replaced_and_the_others_stay(plain: bytes) -> None:
    bundle = twins.bundle(plain)
    for name in ("rtx", "cpu", "cpu"):
        manifest, members, _ = add_precisions(bundle, twins.frames(), recipe(name), Reporter())
        bundle = Bundle(manifest, members, "0" * 64, None)
    found = sorted((artifact.precision, artifact.engine) for artifact in manifest.artifacts)
    assert found == [("fp16", "tensorrt"), ("fp32", ""), ("int8", "onnx"), ("int8", "tensorrt")]
    assert set(manifest.members) == set(members)
    assert len(manifest.provenance["precisions"]["trials"]) == 3
    order = [artifact.precision for artifact in manifest.artifacts if artifact.engine in ("", "tensorrt")]
    assert order == ["int8", "fp16", "fp32"]


def test_auto_takes_int8_only_where_it_is_faster() -> None:
    trial = PrecisionResult(precision="int8", engine="onnx", milliseconds=9.0, milliseconds_fp32=10.0)
    assert trial.is_faster
    assert msgspec.structs.replace(trial, milliseconds=9.8).is_faster is False
    assert msgspec.structs.replace(trial, milliseconds=None).is_faster is None


def test_fp16_overflow_is_found_and_fixed_by_an_island(plain: bytes) -> None:
    network = twins.network(6e4)
    every = to_fp16(network, ())
    assert not np.isfinite(run(in_fp32(every), unoptimized=True)).all()
    found = fp32_nodes(network, INPUTS)
    assert found["node_teacher.block.project"].startswith("overflow")
    assert "node_student.block.project" not in found
    assert np.abs(run(in_fp32(to_fp16(network, found)), unoptimized=True) - run(network)).max() < 0.2
    assert not any("flow:" in reason for reason in fp32_nodes(plain, INPUTS).values())


def test_fp16_keeps_the_contract_and_halves_the_file(plain: bytes) -> None:
    made = to_fp16(plain, fp32_nodes(plain, INPUTS))
    model = onnx.load_from_string(made)
    assert {port.type.tensor_type.elem_type for port in (*model.graph.input, *model.graph.output)} == {1}
    assert len(made) < 0.7 * len(plain)
    assert violations(made) == []
    assert np.abs(run(in_fp32(made), unoptimized=True) - run(plain)).max() < 0.2
    assert in_fp32(plain) == plain


def test_scales_stay_fp32_and_nothing_is_cast_between_layers_in_int8(plain: bytes) -> None:
    model = onnx.load_from_string(networks.int8(plain, INPUTS, Int8(form="tensorrt")).make(()))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    quantizing = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {kinds[node.input[1]] for node in quantizing} == {onnx.TensorProto.FLOAT}
    producers = {output: node for node in model.graph.node for output in node.output}
    layers = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in producers]
    assert len(layers) == 10  # all but the comparison's
    assert {producers[name].op_type for node in layers for name in node.input[:2]} == {"DequantizeLinear"}
    cast = {name for node in model.graph.node if node.op_type == "Cast" for name in node.input}
    made = {name for node in layers for name in node.output}
    assert cast & made == {"teacher.shortcut", "student.shortcut"}  # which a product in FP16 reads


def test_constants_that_fp16_cannot_hold_make_islands(plain: bytes) -> None:
    model = onnx.load_from_string(plain)
    for tensor in model.graph.initializer:
        if tensor.name == "student.last.bias":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(twins.WIDTH, 1e-9, np.float32), tensor.name))
    assert "does not fit" in fp32_nodes(model.SerializeToString(), INPUTS)["node_student.last"]


def test_recipes_are_known_by_name() -> None:
    assert names() == ["cpu", "jetson-orin", "jetson-thor", "rtx"]
    assert all(load_recipe(name).precisions[-1] == "fp32" for name in names())
    with pytest.raises(UsageError, match="did you mean 'jetson-orin'"):
        load_recipe("jetson-orion")


def test_quantizing_prints_nothing(plain: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    networks.int8(plain, INPUTS[:4], Int8(form="cpu", method="percentile")).make(())
    assert capsys.readouterr() == ("", "")
