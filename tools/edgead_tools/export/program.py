"""Stores the trained network as a program of torch.export where asked for: what torch-tensorrt compiles without ONNX.

It takes what the ONNX file takes, `image` (B, 3, H, W) FP32, BGR and normalized, B free, and gives the same named maps.

A file of torch.export can hold pickles, and torch.export.load runs them: it is as much a program as a script is. So the
bundle records the file's digest when it is built, and no other file is loaded.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from edgead import Bundle
from edgead.errors import EngineError, UsageError
from edgead.files import write_file
from edgead.ops.resize import to_input
from edgead.verify import golden_frame
from edgead_tools.export.network import largest_difference
from edgead_tools.methods import Trained

RECORD = "program"  # its digest, in `export` of the bundle's provenance
BATCH = 2  # of the example: torch.export fixes a dimension of 1
_REBUILD = "build the bundle again with --program FILE.pt2"


def make_program(trained: Trained) -> ExportedProgram:
    """The network as a program, without the paths of this machine."""
    spec = trained.input
    program = _export(_FromBgr(trained.network), (BATCH, 3, spec.height, spec.width))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    for weights in (program.state_dict, program.constants):
        weights |= {name: _whole(value) for name, value in weights.items() if isinstance(value, Tensor)}
    program.example_inputs = None
    return program


def dump_program(program: ExportedProgram) -> bytes:
    """The program as torch.export.save writes it: a zip of JSON and plain weights."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


class ExportedProgramFile(NamedTuple):
    """A program as it is written beside its bundle."""

    program: ExportedProgram
    content: bytes

    @classmethod
    def of(cls, trained: Trained) -> ExportedProgramFile:
        program = make_program(trained)
        return cls(program, dump_program(program))

    def provenance(self) -> dict[str, str]:
        """What the bundle records of it, beside the export."""
        return {RECORD: hashlib.sha256(self.content).hexdigest()}

    def write(self, path: Path, bundle: Bundle) -> None:
        """Replace `path` atomically, if the program is the bundle's. Raises UsageError and EdgeadError."""
        check_program(self.program, bundle)
        write_file(path, self.content)


def load_program(path: Path, bundle: Bundle) -> ExportedProgram:
    """The program that was written when `bundle` was built, checked on its golden frames.

    Raises UsageError where the bundle records none, or the file is another or cannot be loaded, and where its maps are
    not the bundle's.
    """
    recorded = bundle.manifest.provenance.get("export", {}).get(RECORD)
    if recorded is None:
        raise UsageError(f"'{bundle.manifest.name}' was built without a program: {_REBUILD}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != recorded:
        raise UsageError(f"{path} is not the program that '{bundle.manifest.name}' was built with: {_REBUILD}")
    try:
        program = torch.export.load(io.BytesIO(content))
    except Exception as error:  # torch raises many kinds where another version wrote the file
        wrote = bundle.manifest.provenance.get("versions", {}).get("torch", "another torch")
        raise UsageError(
            f"torch {torch.__version__} cannot load {path}, which torch {wrote} wrote ({error}): use that one, or "
            f"{_REBUILD}"
        ) from error
    check_program(program, bundle)
    return program


def check_program(program: ExportedProgram, bundle: Bundle) -> None:
    """Compare the program's maps with those of the bundle's FP32 network, in ONNX Runtime, on every golden frame.

    Raises UsageError where they differ by more than rounding, or have other names or shapes.
    """
    spec, artifact = bundle.manifest.input, bundle.manifest.artifact("fp32", "onnx")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(bundle.read(artifact.member), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    size, theirs = image_size(program), output_names(program)
    if size != (spec.height, spec.width) or sorted(names) != sorted(theirs):
        raise UsageError(
            f"the program gives {', '.join(theirs)} of {size[1]}x{size[0]} pixels, the bundle {', '.join(names)} of "
            f"{spec.width}x{spec.height}: they do not belong together"
        )
    network = program.module()
    for frame in bundle.manifest.golden_frames:
        image = to_input(golden_frame(bundle, frame), spec)[None]
        with torch.inference_mode():
            found = {name: tensor.numpy() for name, tensor in network(torch.from_numpy(image)).items()}
        for name, expected in zip(names, session.run(names, {"image": image}), strict=True):
            allowed = largest_difference(name, expected)
            same_shape = found[name].shape == expected.shape
            if not same_shape or not float(np.abs(found[name] - expected).max()) <= allowed:
                raise UsageError(
                    f"the program and the bundle differ on '{name}' of {frame} by more than {allowed:.1e}: they do "
                    f"not belong together, {_REBUILD}"
                )


def image_size(program: ExportedProgram) -> tuple[int, int]:
    """Height and width in pixels of the image it takes."""
    (name,) = program.graph_signature.user_inputs
    (node,) = (node for node in program.graph.nodes if node.name == name)
    _, _, height, width = node.meta["val"].shape
    return int(height), int(width)


def output_names(program: ExportedProgram) -> list[str]:
    """The maps' names, in the order of the program's outputs."""
    spec: Any = program.call_spec.out_spec
    places: dict[str, int] = spec.unflatten(range(spec.num_leaves))
    return sorted(places, key=places.__getitem__)


def in_half(program: ExportedProgram) -> ExportedProgram:
    """The program with all weights and products in FP16, but for its input and outputs.

    No nodes are kept in FP32, as the ONNX export does where numbers would overflow or vanish: golden frames must
    show whether it matters. Raises EngineError where the network itself insists on FP32 somewhere.
    """
    network: Any = program.module()
    weights = {
        name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()
    }
    network.load_state_dict(weights, assign=True)  # half() alone would change the program's own
    try:
        return _export(_Half(network.half()), (BATCH, 3, *image_size(program)))
    except Exception as error:  # torch raises many kinds; most are of two types that do not go together
        reason = " ".join(str(error).split())[:200]
        raise EngineError(f"this program cannot be FP16 throughout ({reason}): compile it from ONNX") from error


def _whole(weights: Tensor) -> Tensor:
    """A copy that fills its memory in order: torch.export.save takes others for parts of something larger."""
    copy = weights.detach().clone(memory_format=torch.contiguous_format)
    return nn.Parameter(copy, requires_grad=False) if isinstance(weights, nn.Parameter) else copy


def _export(network: nn.Module, shape: tuple[int, int, int, int]) -> ExportedProgram:
    return torch.export.export(network, (torch.zeros(shape),), dynamic_shapes=({0: Dim("batch")},))


class _FromBgr(nn.Module):
    """A network for RGB given BGR, its maps in the order of their names, as in the ONNX file."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.network(image.flip(1))
        return dict(sorted(maps.items()))


class _Half(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {name: tensor.float() for name, tensor in self.network(image.half()).items()}
