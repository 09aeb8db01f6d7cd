"""Writes a bundle as two models of a Triton repository: the network, and what stands before and after it in Python.

`NAME` is what clients ask: a frame in, the reading out, by `edgead.serving.triton`. `NAME.network` is the bundle's
network for ONNX Runtime's or TensorRT's backend, which batches the requests of all instances of `NAME`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edgead import Bundle
from edgead.engines.base import tiles_at_once
from edgead.engines.contract import output_names
from edgead.errors import BundleError, UsageError
from edgead.files import write_file
from edgead.kserve.model import BUNDLE, INPUTS, VERSION, Port, model_name, outputs_of
from edgead.tensorrt.metadata import decode

PLATFORMS = ("onnx", "tensorrt", "python")
TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.FLOAT16: "TYPE_FP16"}
HALF = "TYPE_FP16"


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """How the models are run."""

    platform: str = "onnx"  # of PLATFORMS
    precision: str = "auto"
    plan: Path | None = None  # the TensorRT engine, for that platform
    instances: int = 2  # of the Python model: frames that are prepared beside one another
    batch: int = 8  # frames of one run of the network, at most
    gpu: bool = False  # ONNX Runtime on the GPU
    threads: int = 0  # of the platform python; 0: all


@dataclass(frozen=True, slots=True)
class _Ports:
    """The network's inputs and outputs, without the batch: name -> (Triton's type, sizes)."""

    inputs: Mapping[str, tuple[str, tuple[int, ...]]]
    outputs: Mapping[str, tuple[str, tuple[int, ...]]]
    batch: int  # the most frames at once; 0: it takes exactly one, which is part of its sizes


def export_triton(bundle: Bundle, folder: Path, options: TritonOptions) -> str:
    """Write both models into the repository `folder`, in place of those of the same name; gives the model's name.

    Raises UsageError for options that do not fit together, BundleError where there is no such network.
    """
    if options.platform not in PLATFORMS:
        raise UsageError(f"--platform is {', '.join(PLATFORMS[:-1])} or {PLATFORMS[-1]}, not '{options.platform}'")
    if (options.plan is None) == (options.platform == "tensorrt"):
        raise UsageError("--platform tensorrt goes with --plan FILE, an engine of the server's GPU (`edgead compile`)")
    assert bundle.path is not None
    engine = "tensorrt" if options.platform == "tensorrt" else "onnx"
    artifact = bundle.manifest.artifact(options.precision, engine)
    name = model_name(bundle.manifest.name)
    network = f"{name}.network"
    raw = bundle.read(artifact.member)
    batch = max(options.batch, tiles_at_once(bundle.manifest.input.tiles))
    ports = _plan_ports(options.plan) if options.plan is not None else _onnx_ports(raw, batch)
    _check(ports, output_names(bundle.manifest.fusion))
    files = _network_files(options, raw, ports, network, output_names(bundle.manifest.fusion))
    for path, content in files.items():
        write_file(folder / network / path, content)
    parameters = {
        "network": network,
        "engine": engine,
        "precision": artifact.precision,
        "half": "yes" if ports.inputs["image"][0] == HALF else "no",
    }
    write_file(folder / name / VERSION / BUNDLE, bundle.path.read_bytes())
    write_file(folder / name / VERSION / "model.py", _python("JudgeModel"))
    write_file(folder / name / "config.pbtxt", _judge_config(name, bundle, options, parameters).encode())
    return name


def _network_files(
    options: TritonOptions, raw: bytes, ports: _Ports, name: str, names: Sequence[str]
) -> dict[str, bytes]:
    """The files of the network's model by their place in its folder."""
    if options.plan is not None:
        platform, parameters = 'platform: "tensorrt_plan"', dict[str, str]()
        files = {f"{VERSION}/model.plan": options.plan.read_bytes()}
    elif options.platform == "onnx":
        platform, parameters = 'platform: "onnxruntime_onnx"', {}
        files = {f"{VERSION}/model.onnx": raw}
    else:
        platform, parameters = (
            'backend: "python"',
            {"outputs": json.dumps(list(names)), "threads": str(options.threads)},
        )
        files = {f"{VERSION}/model.onnx": raw, f"{VERSION}/model.py": _python("NetworkModel")}
    on_gpu = options.gpu or options.plan is not None
    lines = [f'name: "{name}"', platform, f"max_batch_size: {ports.batch}"]
    lines += _described("input", ports.inputs) + _described("output", ports.outputs)
    lines += ["instance_group [ { kind: %s count: 1 } ]" % ("KIND_GPU" if on_gpu else "KIND_CPU")]
    lines += ["dynamic_batching { }"] if ports.batch else []
    return {**files, "config.pbtxt": "\n".join([*lines, *_parameters(parameters), ""]).encode()}


def _judge_config(name: str, bundle: Bundle, options: TritonOptions, parameters: Mapping[str, str]) -> str:
    """The configuration of the Python model. A request is one frame, whose size is open: there is no batch."""
    lines = [f'name: "{name}"', 'backend: "python"', "max_batch_size: 0"]
    lines += _described("input", _typed(INPUTS)) + _described("output", _typed(outputs_of(bundle.manifest)))
    lines += [f"instance_group [ {{ kind: KIND_CPU count: {options.instances} }} ]"]
    return "\n".join([*lines, *_parameters(parameters), ""])


def _typed(ports: Iterable[Port]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        port.name: ("TYPE_STRING" if port.datatype == "BYTES" else f"TYPE_{port.datatype}", port.shape)
        for port in ports
    }


def _described(kind: str, ports: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[str]:
    return [
        f'{kind} [ {{ name: "{name}" data_type: {datatype} dims: {list(shape)} }} ]'
        for name, (datatype, shape) in ports.items()
    ]


def _parameters(values: Mapping[str, str]) -> list[str]:
    return [
        f'parameters: {{ key: "{name}" value: {{ string_value: {json.dumps(value)} }} }}'
        for name, value in values.items()
    ]


def _python(model: str) -> bytes:
    lines = ['"""Written by `edgead export --triton`."""', "", f"from edgead.serving.triton import {model}", ""]
    return "\n".join([*lines, f"TritonPythonModel = {model}", ""]).encode()


def _onnx_ports(raw: bytes, batch: int) -> _Ports:
    graph = onnx.load_from_string(raw).graph
    described = [{port.name: _shape_of(port) for port in ports} for ports in (graph.input, graph.output)]
    is_open = all(shape[0] == -1 for ports in described for _, shape in ports.values())
    return _without_batch(described[0], described[1], batch if is_open else 0)


def _shape_of(port: Any) -> tuple[str, tuple[int, ...]]:
    kind = port.type.tensor_type
    if kind.elem_type not in TYPES:
        raise BundleError(f"the network's '{port.name}' is neither FP32 nor FP16: export it again")
    return TYPES[kind.elem_type], tuple(dim.dim_value or -1 for dim in kind.shape.dim)


def _plan_ports(plan: Path) -> _Ports:
    """What `edgead compile` has written beside an engine."""
    sidecar = plan.with_suffix(".json")
    try:
        metadata = decode(sidecar.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{sidecar} says what the engine takes, and cannot be read: give one of `edgead compile`"
        ) from error
    types = {"fp16": HALF, "fp32": "TYPE_FP32"}
    described: list[dict[str, tuple[str, tuple[int, ...]]]] = [
        {port.name: (types[port.dtype], port.shape) for port in metadata.ports if port.is_input is side}
        for side in (True, False)
    ]
    return _without_batch(described[0], described[1], max(metadata.batches))


def _without_batch(
    inputs: Mapping[str, tuple[str, tuple[int, ...]]], outputs: Mapping[str, tuple[str, tuple[int, ...]]], batch: int
) -> _Ports:
    first = 1 if batch else 0
    cut = [{name: (kind, shape[first:]) for name, (kind, shape) in ports.items()} for ports in (inputs, outputs)]
    return _Ports(cut[0], cut[1], batch)


def _check(ports: _Ports, wanted: Sequence[str]) -> None:
    absent = [name for name in wanted if name not in ports.outputs]
    if absent or list(ports.inputs) != ["image"]:
        raise BundleError(
            f"the network has other inputs and outputs than the bundle says: {', '.join(absent) or 'inputs'}"
        )
