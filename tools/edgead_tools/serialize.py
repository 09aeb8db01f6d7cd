"""From a program of torch.export straight to a serialized TensorRT engine, by torch-tensorrt: the road beside ONNX.

torch-tensorrt 2.7 to 2.14 were read, and their call is made as each declares it. None has run here: no GPU was at hand,
and it cannot even be imported without one. The engine is held to the same golden frames as any other before it judges.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch.export import ExportedProgram

from edgead.errors import AbsentError, EngineError, UsageError
from edgead_tools.export import quiet
from edgead_tools.program import image_size, in_half, output_names

PRECISIONS = ("fp32", "fp16")
IMAGE = "image"  # the input's name in the engine
INSTALL = "pip install 'edgead[torch-tensorrt]'"


class Serialized(NamedTuple):
    """An engine of torch-tensorrt's."""

    engine: bytes  # a TensorRT engine as `tensorrt.Runtime.deserialize_cuda_engine` takes it
    version: str  # of torch-tensorrt
    outputs: dict[str, str]  # the engine's tensor by the map's name; both are one from torch-tensorrt 2.14 on


def serialize(
    program: ExportedProgram, batches: Sequence[int], precision: str = "fp32", *, workspace: int = 0
) -> Serialized:
    """The engine of a program (`edgead_tools.program.load_program`) for the GPU that is here.

    Its input is `image` (B, 3, H, W) FP32, its outputs the maps in FP32. It has one optimization profile, from the
    least to the most of `batches` and made for the most. Networks are strongly typed and TF32 is off; FP16 is all of
    the network, without islands of FP32. `workspace` is the most of the GPU's memory, in bytes, that one layer may use;
    0 is no limit.

    Raises UsageError for INT8 and an unknown precision, AbsentError without torch-tensorrt or a GPU, and EngineError
    where the program is refused.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"torch-tensorrt makes {' and '.join(PRECISIONS)} here, not {precision}: use --via onnx")
    if not batches or min(batches) < 1:
        raise UsageError(f"batches must be whole numbers of 1 or more, not {', '.join(map(str, batches)) or 'none'}")
    library = _library()
    typed = in_half(program) if precision == "fp16" else program
    convert = library.dynamo.convert_exported_program_to_serialized_trt_engine
    names = output_names(typed)
    known = inspect.signature(convert).parameters
    options: dict[str, Any] = {"disable_tf32": True, "workspace_size": workspace}
    if "use_explicit_typing" in known:  # to 2.12; from then on there is nothing else
        options["use_explicit_typing"] = True
    bindings = [f"output{index}" for index in range(len(names))]
    if "output_binding_names" in known:
        bindings = names
        options |= {"arg_input_binding_names": (IMAGE,), "output_binding_names": {name: name for name in names}}
    sides = (3, *image_size(typed))
    image = library.Input(
        min_shape=(min(batches), *sides),
        opt_shape=(max(batches), *sides),
        max_shape=(max(batches), *sides),
        dtype=torch.float32,
        name=IMAGE,
    )
    try:
        with quiet():
            engine = convert(typed, arg_inputs=[image], **options)
    except Exception as error:  # it raises RuntimeError, AssertionError and kinds of its own
        reason = " ".join(str(error).split())[:300]
        raise EngineError(
            f"torch-tensorrt {library.__version__} cannot compile the program ({reason}): use --via onnx"
        ) from error
    if not engine:
        raise EngineError(f"torch-tensorrt {library.__version__} gave no engine: use --via onnx")
    return Serialized(bytes(engine), str(library.__version__), dict(zip(names, bindings, strict=True)))


def _library() -> Any:
    if not torch.cuda.is_available():
        raise AbsentError(f"torch-tensorrt compiles on the GPU, and torch {torch.__version__} finds none: --via onnx")
    try:
        return import_module("torch_tensorrt")
    except ModuleNotFoundError as error:
        raise AbsentError(f"--via torch-tensorrt needs {error.name}: {INSTALL}") from error
    except Exception as error:  # it raises Exception itself where a library of NVIDIA's is missing
        reason = " ".join(str(error).split())[:300]
        raise AbsentError(f"torch-tensorrt cannot be loaded ({reason}): {INSTALL}") from error
