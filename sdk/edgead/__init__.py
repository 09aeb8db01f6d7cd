"""edgead: visual anomaly detection on the factory line."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgead.bundle import Bundle
from edgead.detector import Detector
from edgead.engines.base import Engine
from edgead.errors import (
    AbsentError,
    BundleError,
    DataError,
    EdgeadError,
    EngineError,
    GateError,
    MissingPackageError,
    SourceError,
    UsageError,
    WeightsError,
)
from edgead.ops import Rules
from edgead.result import Result
from edgead.telemetry import disable_telemetry
from edgead.types import Branches, Frame, Region, Timings, Verdict

if TYPE_CHECKING:
    from edgead.config import BuildConfig, StationConfig
    from edgead.stream.pipeline import Pipeline
    from edgead.stream.sinks.base import Sink
    from edgead.stream.sources import Source
    from edgead.workstation import build

__all__ = [
    "AbsentError",
    "Branches",
    "BuildConfig",
    "Bundle",
    "BundleError",
    "DataError",
    "Detector",
    "EdgeadError",
    "Engine",
    "EngineError",
    "Frame",
    "GateError",
    "MissingPackageError",
    "Pipeline",
    "Region",
    "Result",
    "Rules",
    "Sink",
    "Source",
    "SourceError",
    "StationConfig",
    "Timings",
    "UsageError",
    "Verdict",
    "WeightsError",
    "build",
]
__version__ = "0.1.0"

_LATER = {  # imported when they are asked for: judging images needs none of them
    "BuildConfig": "edgead.config",
    "Pipeline": "edgead.stream.pipeline",
    "Sink": "edgead.stream.sinks.base",
    "Source": "edgead.stream.sources",
    "StationConfig": "edgead.config",
    "build": "edgead.workstation",
}

disable_telemetry()  # before any engine is imported


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'edgead' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
