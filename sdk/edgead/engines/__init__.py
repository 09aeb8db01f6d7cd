"""Engines: what runs a bundle's network. Each is one file, named in one table, imported when it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from edgead.bundle import Bundle
from edgead.errors import AbsentError, BundleError, EngineError, UsageError, nearest
from edgead.types import ImageU8, Reading

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """Frames in, readings out. An engine belongs to one thread at a time.

    One that gains from batches also has `batch`, the most frames it takes at once; the line then hands it frames of
    several cameras together.
    """

    name: str
    precision: str

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        """One reading per (H, W, 3) BGR uint8 frame, in order; sizes may differ; arrays are the caller's to keep."""
        ...

    def close(self) -> None:
        """Release everything held; calling it again does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """A row of the table: where an engine lives and how its needs are installed."""

    target: str  # "module:Class"; the class is called as Class(bundle, precision, threads)
    install: str


ENGINES: dict[str, EngineEntry] = {  # best first; "auto" takes the first that loads
    "tensorrt": EngineEntry("edgead.engines.tensorrt:TensorRtEngine", "pip install 'edgead[tensorrt]'"),
    "openvino": EngineEntry("edgead.engines.openvino:OpenVinoEngine", "pip install 'edgead[openvino]'"),
    "onnx": EngineEntry("edgead.engines.onnx:OnnxEngine", "pip install onnxruntime"),
}


def load_engine(bundle: Bundle, name: str = "auto", precision: str = "auto", threads: int = 0) -> Engine:
    """The engine `name` for the bundle's network of that precision.

    `auto` is the first that runs here; one that is here and does not run is said. `threads` limits the CPU threads of
    one inference; 0 leaves it to the engine. Raises UsageError for an unknown name, BundleError where the bundle has no
    such precision, and EngineError with the reason each engine gave when none can run here: an AbsentError where all of
    them are for other machines.
    """
    if name != "auto" and name not in ENGINES:
        raise UsageError(f"unknown engine '{name}': {nearest(name, ['auto', *ENGINES])}")
    bundle.manifest.check_precision(precision)
    reasons, faults = [], []
    for candidate in ENGINES if name == "auto" else (name,):
        entry = ENGINES[candidate]
        module, _, attribute = entry.target.partition(":")
        try:
            bundle.manifest.artifact(precision, candidate)
        except BundleError as error:  # that precision is there for other engines only
            reasons.append(f"{candidate}: {error}")
            continue
        try:
            engine: Engine = getattr(import_module(module), attribute)(bundle, precision, threads)
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.startswith("edgead"):
                raise
            reasons.append(f"{candidate} needs {error.name} ({entry.install})")
        except AbsentError as error:
            reasons.append(f"{candidate}: {error}")
        except EngineError as error:
            reasons.append(f"{candidate}: {error}")
            faults.append(reasons[-1])
        else:
            for fault in faults:
                _log.warning("%s judges '%s', since %s", candidate, bundle.manifest.name, fault)
            return engine
    kind = EngineError if faults else AbsentError
    raise kind(f"no engine can run '{bundle.manifest.name}' here: {'; '.join(reasons)}")


def is_here(bundle: Bundle, engine: str, precision: str) -> bool:
    """Whether this machine has the engine, or any for `auto`, for the bundle's network of that precision.

    One that is here and fails is here: raises its EngineError.
    """
    try:
        load_engine(bundle, engine, precision).close()
    except AbsentError:
        return False
    return True
