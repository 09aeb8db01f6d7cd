"""The product of a search for the nearest patch in 8 bits: near FP32, its large constant term exact, kept by gate and
recipe like any block."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgead_calibration import networks
from edgead_calibration.recipe import Int8, load_recipe

REGIONS, CELLS, WIDTH, PATCHES = 4, 16, 8, 50  # of a query (1, REGIONS, CELLS, WIDTH), its last component constant
IMAGES = [np.random.default_rng(seed).normal(size=(1, 3, 8, 8)).astype(np.float32) for seed in range(6)]
SEARCHING = Int8(form="cpu", first=False, searches=True, reduce_range=True)


def network(further: int = 64) -> bytes:
    """A stem, a wide layer, a projection whose last channel is 1 and a search in regions: `map` (1, 4, 16)."""
    random = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    project, bias = noise(WIDTH, further, 1, 1), np.zeros(WIDTH, np.float32)
    project[-1], bias[-1] = 0, 1
    patches = noise(REGIONS, WIDTH, PATCHES)
    patches[:, -1] = 500 + 0.25 * (patches[:, :-1] ** 2).sum(1)
    patches[:, :-1] *= -1
    constants = {
        "stem.weight": noise(4, 3, 1, 1), "wide.weight": noise(further, 4, 1, 1), "project.weight": project,
        "project.bias": bias, "memory.patches": patches, "axes": np.array([-1]),
        "rows": np.array([1, REGIONS, CELLS, WIDTH]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "stem.weight"], ["stem"]),
        helper.make_node("Conv", ["stem", "wide.weight"], ["wide"]),
        helper.make_node("Conv", ["wide", "project.weight", "project.bias"], ["query"]),
        helper.make_node("Transpose", ["query"], ["turned"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["turned", "rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "memory.patches"], ["products"]),
        helper.make_node("ReduceMin", ["products", "axes"], ["map"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, REGIONS, CELLS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def run(raw: bytes, scale: float = 1.0) -> np.ndarray:
    session: Any = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": scale * image})[0] for image in IMAGES])


def int8_constants(raw: bytes) -> set[str]:
    return {one.name for one in onnx.load_from_string(raw).graph.initializer if one.data_type == TensorProto.INT8}


def test_the_product_is_in_8_bits_and_near() -> None:
    exact = run(network())
    maker = networks.int8(network(), IMAGES, SEARCHING)
    only_search = maker.make([block.name for block in maker.blocks if not block.is_search])
    assert {name for name in int8_constants(only_search) if "patches" in name}
    error = np.abs(run(only_search) - exact)
    assert 0 < error.mean() < 0.02 * exact.std()  # a term of 500 in 8 bits would miss by 4
    patches = next(one for one in onnx.load_from_string(only_search).graph.initializer if one.name.endswith(".patches"))
    assert np.abs(numpy_helper.to_array(patches)).max() == 63  # 7 bits: two products stay within 16 bits


def test_what_lies_beyond_good_images_stays_as_strange() -> None:
    maker = networks.int8(network(), IMAGES, SEARCHING)
    only_search = maker.make([block.name for block in maker.blocks if not block.is_search])
    exact, found, good = run(network(), 3.0), run(only_search, 3.0), run(network())
    assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > 0.9
    assert found.mean() < good.mean() or found.mean() > exact.mean() - good.std()


@pytest.mark.parametrize("searches", [True, False])
def test_a_recipe_decides_on_searches_and_mixed_precision_reverts_them(searches: bool) -> None:
    maker = networks.int8(network(), IMAGES, Int8(form="cpu", searches=searches))
    sought = [block.name for block in maker.blocks if block.is_search]
    assert sought == (["memory search"] if searches else [])
    reverted = maker.make(sought)
    assert not any("patches" in name for name in int8_constants(reverted))
    assert maker.share(sought) < 1 or not searches


@pytest.mark.parametrize(("further", "kept"), [(64, True), (2, False)])
def test_what_reads_the_image_stays_only_where_it_is_a_small_part(further: int, kept: bool) -> None:
    maker = networks.int8(network(further), IMAGES, SEARCHING)
    assert ("stem" not in {block.name for block in maker.blocks}) == kept
    assert any("stem" in name for name in int8_constants(maker.make(()))) != kept


def test_only_the_recipe_for_cpus_quantizes_searches() -> None:
    assert load_recipe("cpu").int8.searches
    assert not load_recipe("cpu").int8.first
    assert not load_recipe("rtx").int8.searches
