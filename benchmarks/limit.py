"""How near each network comes to what this machine can do: its multiply-adds over a measured peak, for each precision.

    python benchmarks/limit.py BUNDLE ... --out FILE [--rounds 100]

The peak is the fastest large matrix product that ONNX Runtime makes on one thread, in float32 and in 8-bit integers. It
and the networks run in turn, round after round, so that all of them meet the same clocks and the same other work. The
fraction is taken of the least times: those that nobody disturbed. A network's depthwise convolutions, resizes and sums
move bytes rather than multiply, so no network comes near 1.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from edgead import Bundle
from edgead.system.device import OtherWork, describe_device, describe_state

SIDE = 768  # of the matrices: three of them fit into a second-level cache's neighborhood, and into no first-level one


def multiply_adds(model: ModelProto) -> int:
    """The multiply-adds of one image: those of convolutions and matrix products, which are nearly all."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes = {value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
              for value in (*inferred.value_info, *inferred.input, *inferred.output)}  # fmt: skip
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type == "Conv":
            weights = shapes[node.input[1]]  # (out, in / groups, kernel...)
            total += int(np.prod(shapes[node.output[0]])) * int(np.prod(weights[1:]))
        elif node.op_type in ("MatMul", "Gemm"):
            total += int(np.prod(shapes[node.output[0]])) * shapes[node.input[0]][-1]
    return total


def product(kind: str) -> ModelProto:
    """A graph that multiplies its input by a constant square matrix, in float32 or in 8-bit integers."""
    random = np.random.default_rng(0)
    if kind == "fp32":
        weights = random.normal(size=(SIDE, SIDE)).astype(np.float32)
        nodes, types = [helper.make_node("MatMul", ["x", "w"], ["y"])], (TensorProto.FLOAT, TensorProto.FLOAT)
    else:
        weights = random.integers(-64, 64, (SIDE, SIDE)).astype(np.int8)  # pairs of products stay within 16 bits
        nodes, types = [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], (TensorProto.UINT8, TensorProto.INT32)
    ends = [helper.make_tensor_value_info(name, kind, [SIDE, SIDE]) for name, kind in zip("xy", types, strict=True)]
    graph = helper.make_graph(nodes, kind, ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def runner(raw: bytes) -> Callable[[], Any]:
    """One inference of a graph on one thread, its input ready."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    node = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in node.shape]
    kind = np.uint8 if "uint8" in node.type else np.float32
    value = (np.random.default_rng(0).random(shape) * (255 if kind is np.uint8 else 1)).astype(kind)
    return lambda: session.run(None, {node.name: value})


def measure(bundles: list[Path], rounds: int) -> dict[str, Any]:
    calls: dict[str, Callable[[], Any]] = {
        f"peak {kind}": runner(product(kind).SerializeToString()) for kind in ("fp32", "int8")
    }
    work = dict.fromkeys(calls, SIDE**3)
    precisions = {"peak fp32": "fp32", "peak int8": "int8"}
    for path in bundles:
        bundle = Bundle.open(path)
        for artifact in bundle.manifest.artifacts:
            if artifact.engine not in ("", "onnx"):  # in a form that is another engine's
                continue
            preset = bundle.manifest.provenance.get("config", {}).get("preset", "")
            name = f"{bundle.manifest.method} {preset} {artifact.precision}"
            raw = bundle.read(artifact.member)
            calls[name], work[name] = runner(raw), multiply_adds(onnx.load_from_string(raw))
            precisions[name] = artifact.precision
    spent: dict[str, list[float]] = {name: [] for name in calls}
    others, before = OtherWork(), describe_state()
    for number in range(rounds + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= 3:
                spent[name].append(time.perf_counter() - start)
    speed = {name: work[name] / min(times) / 1e9 for name, times in spent.items()}
    networks = {
        name: {
            "gmac": round(work[name] / 1e9, 3),
            "least_ms": round(1e3 * min(times), 2),
            "median_ms": round(1e3 * float(np.median(times)), 2),
            "gmac_a_second": round(speed[name], 1),
            "of_peak": round(speed[name] / speed[f"peak {'int8' if precisions[name] == 'int8' else 'fp32'}"], 3),
        }
        for name, times in spent.items()
        if not name.startswith("peak")
    }
    peaks = {name.removeprefix("peak "): round(speed[name], 1) for name in speed if name.startswith("peak")}
    return {
        "threads": 1,
        "rounds": rounds,
        "peak_gmac_a_second": peaks,
        "networks": networks,
        "others": round(others.share(), 2),
        "device": describe_device(),
        "state": {"before": before, "after": describe_state()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    text = json.dumps(measure(given.bundles, given.rounds), indent=1) + "\n"
    given.out.write_text(text, encoding="utf-8")
    print(text)
