"""Loads engines, which run a bundle's network. Each is one file, named in one table, imported when it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from edgead.bundle.draft import Model
from edgead.engines.base import Engine
from edgead.errors import AbsentError, BundleError, EdgeadError, EngineError, MissingPackageError, UsageError, nearest
from edgead.registry import Lazy, Registry

_log = logging.getLogger(__name__)


# best first: "auto" takes the first that loads; each is called as Class(bundle, precision, threads), and one of REMOTE
# with its address too, as in "kserve:10.0.0.5:8000"
ENGINES = Registry(
    "edgead.engines",
    Lazy,
    {
        "tensorrt": Lazy("edgead.engines.tensorrt:TensorRtEngine", extra="tensorrt"),
        "openvino": Lazy("edgead.engines.openvino:OpenVinoEngine", extra="openvino"),
        "onnx": Lazy("edgead.engines.onnx:OnnxEngine", package="onnxruntime"),
        "kserve": Lazy("edgead.engines.kserve:KserveEngine"),
    },
)
REMOTE = ("kserve",)  # never taken by "auto"


def load_engine(
    bundle: Model, name: str = "auto", precision: str = "auto", threads: int = 0, device: int = 0
) -> Engine:
    """The engine `name` for the bundle's network of that precision; `kserve:HOST:PORT` has a server judge.

    `auto` is the first that runs here; one that is here and does not run is said. `threads` limits the CPU threads of
    one inference; 0 leaves it to the engine. `device` is the number of the GPU, for an engine that runs on one. Raises
    UsageError for an unknown name or number, BundleError where the bundle has no
    such precision, and EngineError with the reason each engine gave when none can run here: an AbsentError where all of
    them are for other machines.
    """
    candidates = _candidates(name)
    bundle.manifest.check_precision(precision)
    kind_of_server, _, place = name.partition(":")
    if kind_of_server in REMOTE:
        remote: Engine = _class_of(kind_of_server)(bundle, precision, threads, place, device)
        return remote
    reasons, faults = [], []
    for candidate in candidates:
        try:
            bundle.manifest.artifact(precision, candidate)
        except BundleError as error:  # that precision is there for other engines only
            reasons.append(f"{candidate}: {error}")
            continue
        try:
            engine = _load(candidate, bundle, precision, threads, device)
        except AbsentError as error:
            reasons.append(str(error))
        except EngineError as error:
            reasons.append(str(error))
            faults.append(reasons[-1])
        else:
            for fault in faults:
                _log.warning("%s judges '%s', since %s", candidate, bundle.manifest.name, fault)
            return engine
    kind = EngineError if faults else AbsentError
    raise kind(f"no engine can run '{bundle.manifest.name}' here: {'; '.join(reasons)}")


def is_here(bundle: Model, engine: str, precision: str) -> bool:
    """Whether this machine has the engine, or any for `auto`, for the bundle's network of that precision.

    No network is loaded. One that is installed and broken is here: using it says what is wrong.
    """
    bundle.manifest.check_precision(precision)
    return any(_is_for(bundle, name, precision) and _available(name) for name in _candidates(engine))


def local_engines() -> list[str]:
    """The engines that run on this machine, best first."""
    return [name for name in ENGINES if name not in REMOTE]


def _candidates(name: str) -> Iterable[str]:
    kind = name.partition(":")[0]
    if (name != "auto" and name not in ENGINES) and kind not in REMOTE:
        raise UsageError(f"unknown engine '{name}': {nearest(name, ['auto', *ENGINES])}")
    local = name == "auto" or kind in REMOTE  # a server is tried by using it; this machine's own takes its place
    return local_engines() if local else (name,)


def _is_for(bundle: Model, name: str, precision: str) -> bool:
    try:
        bundle.manifest.artifact(precision, name)
    except BundleError:
        return False
    return True


def _available(name: str) -> bool:
    try:
        return bool(_class_of(name).available())
    except AbsentError:
        return False
    except EngineError:
        return True


def _load(name: str, bundle: Model, precision: str, threads: int, device: int) -> Engine:
    """The engine, made; whatever its library raises becomes an EngineError that begins with its name."""
    kind = _class_of(name)
    chosen = {"device": device} if getattr(kind, "takes_device", False) else {}
    try:
        engine: Engine = kind(bundle, precision, threads, **chosen)
    except EngineError as error:
        raise type(error)(f"{name}: {error}") from error
    except EdgeadError:
        raise
    except Exception as error:
        raise _broken(name, error) from error
    return engine


def _class_of(name: str) -> type[Any]:
    """The engine's class; raises AbsentError where a package is not installed, EngineError where one is broken."""
    try:
        kind: type[Any] = ENGINES[name].load(name)
    except MissingPackageError as error:
        raise AbsentError(str(error)) from error
    except UsageError as error:
        raise EngineError(str(error)) from error
    except Exception as error:  # a shared library that is not found, or whatever a broken package raises
        raise _broken(name, error) from error
    return kind


def _broken(name: str, error: Exception) -> EngineError:
    words = " ".join(str(error).split())
    return EngineError(f"{name} is installed and does not work: {type(error).__name__}: {words}; install it again")
