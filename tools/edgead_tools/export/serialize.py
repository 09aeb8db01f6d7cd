"""Compiles a program of torch.export to a serialized TensorRT engine by torch-tensorrt, without ONNX.

torch-tensorrt 2.7, 2.8, 2.11, 2.13 and 2.14 were read, and the call is made as 2.14 declares it, the first that lets an
engine's tensors be named. It has not run here: no GPU was at hand, and it cannot even be imported without one. The
engine is held to the same golden frames as any other before it judges.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from edgead.bundle import Artifact, Bundle
from edgead.errors import AbsentError, EngineError, UsageError
from edgead.tensorrt.build import BuiltEngine, OnProgress, Options
from edgead.tensorrt.prepare import EngineBuilder
from edgead_tools.export.network import quiet
from edgead_tools.export.program import image_size, in_half, load_program, output_names

PRECISIONS = ("fp32", "fp16")
IMAGE = "image"  # the input's name in the engine
LEAST = "2.14"
INSTALL = "pip install 'edgead[torch-tensorrt]'"


def engine_builder(program: Path, bundle: Bundle, artifact: Artifact) -> EngineBuilder:
    """Builds a bundle's engines by torch-tensorrt, from the program that was kept when it was built; raises UsageError
    where the program is another bundle's."""
    loaded = load_program(program, bundle)

    def make(options: Options, timings: bytes, on_progress: OnProgress | None) -> BuiltEngine:
        engine = serialize(loaded, options.batches, artifact.precision, workspace=options.workspace)
        return BuiltEngine(engine, [], [], [], [], b"")

    return make


def serialize(
    program: ExportedProgram, batches: Sequence[int], precision: str = "fp32", *, workspace: int = 0
) -> bytes:
    """The engine of a program (`edgead_tools.export.program.load_program`) for the GPU that is here, as TensorRT's
    `deserialize_cuda_engine` takes it.

    Its input is `image` (B, 3, H, W) FP32, its outputs are the maps in FP32 by their names. It has one optimization
    profile, from 1 to the most of `batches` and made for the most. Networks are strongly typed and TF32 is off; FP16 is
    all of the network, without FP32 nodes. `workspace` is the most of the GPU's memory, in bytes, that one layer
    may use; 0 is no limit.

    Raises UsageError for INT8 and an unknown precision, AbsentError without a GPU or a torch-tensorrt that can do it,
    and EngineError where the program is refused.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"torch-tensorrt makes {' and '.join(PRECISIONS)} here, not {precision}: use --via onnx")
    if not batches or min(batches) < 1:
        raise UsageError(f"batches must be whole numbers of 1 or more, not {', '.join(map(str, batches)) or 'none'}")
    library = _library()
    typed = in_half(program) if precision == "fp16" else program
    sides, most = (3, *image_size(typed)), max(batches)
    image = library.Input(
        min_shape=(1, *sides), opt_shape=(most, *sides), max_shape=(most, *sides), dtype=torch.float32, name=IMAGE
    )
    try:
        with quiet():
            engine = library.dynamo.convert_exported_program_to_serialized_trt_engine(
                typed,
                arg_inputs=[image],
                arg_input_binding_names=(IMAGE,),  # names in the shape of the program's own arguments and results
                output_binding_names={name: name for name in output_names(typed)},
                workspace_size=workspace,
                disable_tf32=True,
            )
    except Exception as error:  # it raises RuntimeError, AssertionError and kinds of its own
        reason = " ".join(str(error).split())[:300]
        raise EngineError(
            f"torch-tensorrt {library.__version__} cannot compile the program ({reason}): use --via onnx"
        ) from error
    if not engine:
        raise EngineError(f"torch-tensorrt {library.__version__} gave no engine: use --via onnx")
    return bytes(engine)


def _library() -> Any:
    if not torch.cuda.is_available():
        raise AbsentError(f"torch-tensorrt compiles on the GPU, and torch {torch.__version__} finds none: --via onnx")
    try:
        library = import_module("torch_tensorrt")
    except ModuleNotFoundError as error:
        raise AbsentError(f"--via torch-tensorrt needs {error.name}: {INSTALL}") from error
    except Exception as error:  # it raises Exception itself where a library of NVIDIA's is missing
        reason = " ".join(str(error).split())[:300]
        raise AbsentError(f"torch-tensorrt cannot be loaded ({reason}): {INSTALL}") from error
    convert = library.dynamo.convert_exported_program_to_serialized_trt_engine
    if "output_binding_names" not in inspect.signature(convert).parameters:
        raise AbsentError(
            f"torch-tensorrt {library.__version__} names an engine's outputs itself, so that no runtime knows which "
            f"map is which: {LEAST} is the least ({INSTALL})"
        )
    return library
