"""Deserializes an engine in a separate process, so that a bad one ends that process and not the line.

    python -m edgead.tensorrt.probe LIBRARY < ENGINE

prints what is in it as JSON; `try_engine` runs that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import msgspec

from edgead.errors import EngineError
from edgead.tensorrt.layers import Layer, from_inspector, type_name
from edgead.tensorrt.library import Library, Messages, open_library
from edgead.tensorrt.metadata import Port

VISIBLE = "CUDA_VISIBLE_DEVICES"
TIMEOUT_S = 300.0  # lazily loaded libraries of a gigabyte, from a slow disk


class Contents(msgspec.Struct, frozen=True):
    """What an engine has."""

    ports: tuple[Port, ...]
    layers: tuple[Layer, ...]  # none where its builder left no details


def try_engine(library: Library, engine: bytes, device: int = 0) -> Contents:
    """What an engine has; raises EngineError where that GPU cannot deserialize it, for whatever reason."""
    command = [sys.executable, "-m", "edgead.tensorrt.probe", library.name]
    try:
        done = subprocess.run(  # noqa: S603 - this module
            command,
            input=engine,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=os.environ | {VISIBLE: visible(device, os.environ.get(VISIBLE))},
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{library.title} did not deserialize the engine within {TIMEOUT_S:.0f} s") from error
    if done.returncode < 0:
        killer = signal.Signals(-done.returncode).name
        raise EngineError(f"{library.title} crashed on deserializing the engine ({killer})")
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise EngineError(f"{library.title} does not deserialize the engine: {reason}")
    return msgspec.json.decode(done.stdout, type=Contents)


def visible(device: int, before: str | None) -> str:
    """The `CUDA_VISIBLE_DEVICES` of a process that shall see this GPU alone, of those that `before` lets be seen."""
    shown = [name for name in (before or "").split(",") if name]
    return shown[device] if device < len(shown) else str(device)


def read_engine(library: Library, engine: bytes) -> Contents:
    """What an engine has, read in this process; raises EngineError."""
    messages = Messages()
    logger = library.logger(messages.add)
    with library.translated(messages):
        runtime = library.module.Runtime(logger)
        loaded = runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            raise EngineError(str(messages))
        inspector = loaded.create_engine_inspector()
        information = inspector.get_engine_information(library.module.LayerInformationFormat.JSON)
        ports = tuple(_port(library, loaded, index) for index in range(loaded.num_io_tensors))
    return Contents(ports, _layers(information))


def _port(library: Library, engine: Any, index: int) -> Port:
    name = engine.get_tensor_name(index)
    is_input = engine.get_tensor_mode(name) == library.module.TensorIOMode.INPUT
    shape = tuple(int(size) for size in engine.get_tensor_shape(name))
    return Port(name, is_input, type_name(engine.get_tensor_dtype(name).name), shape)


def _layers(information: str) -> tuple[Layer, ...]:
    try:
        return tuple(from_inspector(information))
    except ValueError:  # no JSON: no details
        return ()


def main() -> None:
    try:
        contents = read_engine(open_library(sys.argv[1]), sys.stdin.buffer.read())
    except EngineError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(msgspec.json.encode(contents))


if __name__ == "__main__":
    main()
