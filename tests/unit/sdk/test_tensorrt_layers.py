"""What TensorRT tells of an engine's layers, in its builder's log and its inspector's JSON, and what is made of it."""

from __future__ import annotations

import json

import pytest
import rtx
import twins

from edgead.ops import to_input
from edgead.tensorrt.build import Options, build
from edgead.tensorrt.layers import Layer, LayerPrecision, count, from_inspector, from_log, precision_mismatches
from edgead_calibration import networks
from edgead_calibration.recipe import Int8


def tensor(kind: str, shape: str = "1,8,4,4") -> str:
    format = "(NHWC) Channel major format"
    return f"{{ Name: t[0], Dimensions: [{shape}], Strides: [128,1,32,8], Datatype: {kind}, Format: {format}}}"


def line(name: str, kind: str, inputs: list[str], constants: list[str], nodes: list[str]) -> str:
    sides = [f"[ {', '.join(one)}]" if one else "[]" for one in (inputs, constants, [tensor("Half")])]
    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: {sides[0]}, Constants: {sides[1]}, Outputs: {sides[2]}, "
        f"TacticName: a, b: {{c}}, StreamId: 0, Metadata: {metadata}"
    )


LOG = [
    "Name: what, LayerType: stands, elsewhere: does not count",
    "\n".join(
        [
            "Layers:",
            line("signal_1", "signal", [], [], []),
            line("cast_myl0_1", "kgen", [tensor("Float")], [tensor("Float", "1")], ["conv_a", "quantize"]),
            line(
                "conv_a_myl0_2",
                "correlation",
                [tensor("Int8")],
                [tensor("Float", "1,8,1,1"), tensor("Int8", "8,8,3,3"), tensor("Float", "1")],
                ["conv_a", "x_DequantizeLinear"],
            ),
            line(
                "fused_3",
                "runtime_fusion",
                [tensor("Float"), tensor("Half")],
                [tensor("Half", "8,8,1,1"), tensor("Float", "1")],
                ["conv_b", "cast", "sub"],
            ),
            line("product_4", "gemm", [tensor("Half"), tensor("Half")], [], ["matmul"]),
            "",
            "I/O Tensors:",
            " Name: image, IOMode: Input, DataType: Float, Dimensions: [-1,3,256,256]",
        ]
    ),
]


def test_the_builders_log_is_read_layer_by_layer() -> None:
    layers = {layer.name: layer for layer in from_log(LOG)}
    assert list(layers) == ["signal_1", "cast_myl0_1", "conv_a_myl0_2", "fused_3", "product_4"]
    assert layers["conv_a_myl0_2"] == Layer(
        "conv_a_myl0_2", "correlation", ("int8",), "int8", ("fp16",), ("conv_a", "x_DequantizeLinear")
    )
    assert [layer.precision for layer in layers.values()] == ["", "fp32", "int8", "fp16", "fp16"]
    assert from_log(["nothing of the kind"]) == []


@pytest.mark.parametrize(
    ("one", "clause"),
    [
        (LayerPrecision("conv_a", "int8"), None),
        (LayerPrecision("conv_b", "fp16"), None),
        (LayerPrecision("matmul", "fp16"), None),
        (LayerPrecision("conv_a", "fp16"), "conv_a runs in int8, not fp16"),
        (LayerPrecision("conv_b", "int8"), "conv_b runs in fp16, not int8"),
        (LayerPrecision("matmul", "fp32"), "matmul runs in fp16, not fp32"),
        (LayerPrecision("lost", "int8"), "lost runs in a way unknown, not int8"),
    ],
)
def test_a_product_that_does_not_run_as_asked_is_named(one: LayerPrecision, clause: str | None) -> None:
    assert precision_mismatches([one], from_log(LOG)) == ([] if clause is None else [clause])


@pytest.mark.parametrize(
    ("word", "precision"),
    [
        ("Half", "fp16"),
        ("Int8", "int8"),
        ("Float", "fp32"),
        ("Row major linear FP32", "fp32"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Int32", ""),
        ("Int64", ""),
        ("Bool", ""),
        ("BFloat16", ""),
        ("FP8", ""),
    ],
)
def test_the_inspectors_words_are_understood(word: str, precision: str) -> None:
    told = {
        "Layers": [
            {
                "Name": "conv_a + relu",
                "LayerType": "CaskConvolution",
                "Inputs": [{"Name": "x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": word}],
                "Outputs": [],
                "Weights": {"Type": word, "Count": 8},
                "Metadata": "[ONNX Layer: conv_a]\u001e[ONNX Layer: relu]",
            },
            "a name alone",
        ]
    }
    (layer,) = from_inspector(json.dumps(told))
    assert (layer.precision, layer.nodes) == (precision, ("conv_a", "relu"))
    del told["Layers"][0]["Metadata"]  # type: ignore[attr-defined]
    assert from_inspector(json.dumps(told))[0].nodes == ("conv_a", "relu")


@pytest.mark.parametrize("depthwise", [True, False])
def test_every_product_of_a_mixed_network_is_found_in_what_is_built(depthwise: bool) -> None:
    library = rtx.library()
    inputs = [to_input(image, twins.SPEC)[None] for image in twins.parts(8, 100)]
    maker = networks.int8(twins.network(), inputs, Int8(form="tensorrt", depthwise=depthwise))
    asked = {}
    for name, kept in {"none": (), "teacher": ("teacher",)}.items():
        built = build(library, maker.make(kept), Options((1, 3), 89))
        assert precision_mismatches(built.requested, built.layers) == []
        asked[name] = count(built.requested)
    assert asked["none"]["int8"] > asked["teacher"]["int8"]


def test_an_engine_of_another_precision_is_found_out() -> None:
    library = rtx.library()
    asked, got = (build(library, network, Options((1,), 86)) for network in (halved(), twins.network()))
    faults = precision_mismatches(asked.requested, got.layers)
    assert len(faults) == count(asked.requested)["fp16"] > 0
    assert all(fault.endswith("runs in fp32, not fp16") for fault in faults)


def test_progress_only_rises_and_comes_to_its_end() -> None:
    told: list[tuple[int, int]] = []
    build(rtx.library(), halved(), Options((1,), 86), on_progress=lambda done, total: told.append((done, total)))
    shares = [done for done, total in told]
    assert shares == sorted(set(shares))
    assert told[-1] == (100, 100)
    assert len(told) > 5


def halved() -> bytes:
    inputs = [to_input(image, twins.SPEC)[None] for image in twins.parts(8, 100)]
    return networks.fp16(twins.network(), inputs).make(())
