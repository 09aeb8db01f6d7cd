"""The call of torch-tensorrt, as its release 2.14 declares it; a module that only looks takes its place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from test_program import Colored, Stubborn, trained
from torch.export import ExportedProgram

from edgead.errors import AbsentError, EngineError, UsageError
from edgead_tools.export.program import make_program
from edgead_tools.export.serialize import serialize


class Input:
    def __init__(self, **fields: Any) -> None:
        self.fields = fields


class Calls:
    """What the pretended library was asked for, and what it gives."""

    def __init__(self) -> None:
        self.program: Any = None
        self.options: dict[str, Any] = {}
        self.gives: Callable[[], Any] = lambda: bytearray(b"an engine")

    def note(self, program: Any, arg_inputs: Any, options: dict[str, Any]) -> Any:
        self.program, self.options = program, options | {"arg_inputs": arg_inputs}
        return self.gives()

    def release_2_14(
        self,
        exported_program: Any,
        inputs: Any = None,
        *,
        arg_inputs: Any = None,
        kwarg_inputs: Any = None,
        disable_tf32: bool = False,
        workspace_size: int = 0,
        arg_input_binding_names: Any = None,
        kwarg_input_binding_names: Any = None,
        output_binding_names: Any = None,
        **kwargs: Any,
    ) -> Any:
        assert inputs is None
        assert not kwargs, "silently ignored by this release"
        flatten = torch.utils._pytree.tree_flatten
        named_in, in_spec = flatten(arg_input_binding_names)
        named_out, out_spec = flatten(output_binding_names)
        assert in_spec == exported_program.call_spec.in_spec.child(0)  # what 2.14 insists on
        assert out_spec == exported_program.call_spec.out_spec
        options = {"workspace": workspace_size, "tf32_off": disable_tf32, "in": named_in, "out": named_out}
        return self.note(exported_program, arg_inputs, options)


def release_2_13(exported_program: Any, inputs: Any = None, *, arg_inputs: Any = None, **kwargs: Any) -> Any:
    pytest.fail("an engine was made whose outputs have no names")


@pytest.fixture(scope="module")
def program() -> ExportedProgram:
    return make_program(trained(Colored(), "big", "mean", size=64))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    put(monkeypatch, calls.release_2_14, "2.14.0")
    return calls


def put(monkeypatch: pytest.MonkeyPatch, convert: Callable[..., Any], version: str) -> None:
    library: Any = ModuleType("torch_tensorrt")
    library.__version__, library.Input = version, Input
    library.dynamo = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", library)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize(("batches", "most"), [((4, 1), 4), ((2,), 2), ((1,), 1)])
def test_it_is_asked_for_the_contract(
    program: ExportedProgram, calls: Calls, batches: tuple[int, ...], most: int
) -> None:
    made = serialize(program, batches, workspace=1 << 20)
    assert (made, type(made)) == (b"an engine", bytes)
    assert calls.program is program
    (image,) = calls.options.pop("arg_inputs")
    assert calls.options == {"workspace": 1 << 20, "tf32_off": True, "in": ["image"], "out": ["big", "mean"]}
    shapes = {"min_shape": (1, 3, 64, 64), "opt_shape": (most, 3, 64, 64), "max_shape": (most, 3, 64, 64)}
    assert image.fields == shapes | {"dtype": torch.float32, "name": "image"}


def test_a_release_that_cannot_name_outputs_is_refused_at_once(
    program: ExportedProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, release_2_13, "2.13.0")
    with pytest.raises(AbsentError, match=r"torch-tensorrt 2\.13\.0 names an engine's outputs itself, .* 2\.14 is"):
        serialize(program, (1,))


def test_fp16_is_in_the_program(program: ExportedProgram, calls: Calls) -> None:
    serialize(program, (1,), "fp16")
    weights = [weight for weight in calls.program.state_dict.values() if weight.is_floating_point()]
    assert {weight.dtype for weight in weights} == {torch.float16}
    assert calls.options["arg_inputs"][0].fields["dtype"] == torch.float32
    with pytest.raises(EngineError, match="compile it from ONNX"):
        serialize(make_program(trained(Stubborn(), "map")), (1,), "fp16")


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_int8_takes_the_other_road(program: ExportedProgram, precision: str) -> None:
    with pytest.raises(UsageError, match=f"fp32 and fp16 here, not {precision}: use --via onnx"):
        serialize(program, (1,), precision)


@pytest.mark.parametrize("batches", [(), (0, 2)])
def test_batches_are_counts(program: ExportedProgram, batches: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="batches must be whole numbers of 1 or more"):
        serialize(program, batches)


def refuse(error: Exception) -> Callable[..., Any]:
    def gives() -> Any:
        raise error

    return gives


def test_a_refusal_is_told_in_a_sentence(program: ExportedProgram, calls: Calls) -> None:
    calls.gives = refuse(RuntimeError("Conversion of module\n  GraphModule() not supported"))
    with pytest.raises(EngineError, match=r"torch-tensorrt 2\.14\.0 cannot compile the program \(Conversion of mod"):
        serialize(program, (1,))
    calls.gives = bytes
    with pytest.raises(EngineError, match="gave no engine: use --via onnx"):
        serialize(program, (1,))


def test_without_a_gpu_or_the_library(program: ExportedProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AbsentError, match="compiles on the GPU"):
        serialize(program, (1,))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        "edgead_tools.export.serialize.import_module", refuse_import(ModuleNotFoundError(name="torch_tensorrt"))
    )
    with pytest.raises(AbsentError, match=r"needs torch_tensorrt: pip install 'edgead\[torch-tensorrt\]'"):
        serialize(program, (1,))
    monkeypatch.setattr("edgead_tools.export.serialize.import_module", refuse_import(Exception("no libnvinfer.so.11")))
    with pytest.raises(AbsentError, match=r"cannot be loaded \(no libnvinfer\.so\.11\)"):
        serialize(program, (1,))


def refuse_import(error: Exception) -> Callable[[str], Any]:
    def gives(name: str) -> Any:
        raise error

    return gives
