"""Triton for tests: what its Python backend offers to a model's code, in this process, or the real server."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from google.protobuf import text_format
from programs import answers, free_port, lacking, until
from tritonclient.grpc import model_config_pb2

# its Python backend was built before NumPy 2, under which every tensor it makes has 0 bytes
INSTALL = "pip install --no-deps --target DIR nvidia-pytriton 'numpy<2', and set TRITON_HOME=DIR"


def read_config(path: Path) -> Any:
    """A config.pbtxt as Triton's own message; fields that it does not have are errors."""
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        assert array.flags["C_CONTIGUOUS"]
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class TritonError:
    def __init__(self, words: str) -> None:
        self._words = words

    def message(self) -> str:
        return self._words


class InferenceResponse:
    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        self.tensors, self._error = output_tensors, error

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class PreferredMemory(NamedTuple):
    kind: int
    device: int


class Repository:
    """The models of a folder whose backend is Python, each loaded once."""

    def __init__(self, folder: Path, utils: ModuleType) -> None:
        self.models: dict[str, Any] = {}
        for path in sorted(folder.iterdir()):
            config = read_config(path / "config.pbtxt")
            parameters = {name: {"string_value": value.string_value} for name, value in config.parameters.items()}
            spec = importlib.util.spec_from_file_location(f"model_{len(self.models)}", path / "1/model.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self.models[path.name] = model = module.TritonPythonModel()
            told = json.dumps({"parameters": parameters})
            model.initialize({"model_config": told, "model_repository": str(path), "model_version": "1"})

    def infer(self, name: str, tensors: Mapping[str, np.ndarray]) -> InferenceResponse:
        return self.answer(name, [Tensor(*one) for one in tensors.items()])

    def answer(self, name: str, inputs: list[Tensor]) -> InferenceResponse:
        return self.models[name].execute([inputs])[0]


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Repository:
    """The repository `folder`, with requests between its models answered."""
    utils: Any = ModuleType("triton_python_backend_utils")

    class InferenceRequest(NamedTuple):
        model_name: str
        requested_output_names: list[str]
        inputs: list[Tensor]
        preferred_memory: PreferredMemory

        def exec(self) -> InferenceResponse:
            return loaded[0].answer(self.model_name, self.inputs)

    def of(tensors: list[Tensor], name: str) -> Tensor:
        return next(one for one in tensors if one.name() == name)

    loaded: list[Repository] = []
    utils.get_input_tensor_by_name = of
    utils.get_output_tensor_by_name = lambda response, name: of(response.tensors, name)
    utils.TRITONSERVER_MEMORY_CPU = 0
    for kind in (Tensor, TritonError, InferenceResponse, PreferredMemory, InferenceRequest):
        setattr(utils, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    monkeypatch.delitem(sys.modules, "edgead.serving.triton", raising=False)
    loaded.append(Repository(folder, utils))
    return loaded[0]


@contextmanager
def real_triton(models: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """A real Triton on the repository `models`; gives its ports for HTTP and gRPC."""
    place = Path(os.environ.get("TRITON_HOME", "/absent"))
    server = place / "pytriton/tritonserver"
    if not server.is_dir():
        lacking(f"there is no Triton: {INSTALL}")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(server / "backends", folder / "backends")
    shutil.copy(server / f"python_backend_stubs/{python}/triton_python_backend_stub", folder / "backends/python")
    libraries = f"{place / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
    for model in models.glob("*/1/model.py"):  # its Python takes no PYTHONPATH; of NumPy it takes that of the folder
        model.write_text(f"import sys\n\nsys.path += {[path for path in sys.path if path]!r}\n{model.read_text()}")
    http, grpc = free_port(), free_port()
    command = [server / "bin/tritonserver", "--model-repository", models, "--backend-directory", folder / "backends"]
    command += ["--http-port", http, "--grpc-port", grpc, "--allow-metrics", "false", "--http-address", "127.0.0.1"]
    command += ["--grpc-address", "127.0.0.1"]
    with (folder / "triton.log").open("wb") as log:
        process = subprocess.Popen(
            [*map(str, command)], cwd=place, env=os.environ | {"LD_LIBRARY_PATH": libraries}, stdout=log, stderr=log
        )
        try:
            until(lambda: process.poll() is not None or (answers(http) and answers(grpc)), 90)
            assert process.poll() is None, (folder / "triton.log").read_text()[-3000:]
            yield http, grpc
        finally:
            process.terminate()
            process.wait(60)
