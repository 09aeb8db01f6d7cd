"""edgead: visual anomaly detection on the factory line."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from edgead.telemetry import disable_telemetry

if TYPE_CHECKING:
    from edgead.bundle import Bundle
    from edgead.config import BuildConfig, StationConfig
    from edgead.detector import Detector
    from edgead.engines.base import Engine
    from edgead.ops import Rules
    from edgead.result import Result
    from edgead.stream.pipeline import Pipeline
    from edgead.stream.sinks.base import Sink
    from edgead.stream.sources import Source
    from edgead.types import Branches, Frame, Region, Timings, Verdict
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

_MODULES = {  # of the names that are imported when they are asked for: numpy and OpenCV come with most
    **dict.fromkeys(("Branches", "Frame", "Region", "Timings", "Verdict"), "edgead.types"),
    **dict.fromkeys(("BuildConfig", "StationConfig"), "edgead.config"),
    "Bundle": "edgead.bundle",
    "Detector": "edgead.detector",
    "Engine": "edgead.engines.base",
    "Pipeline": "edgead.stream.pipeline",
    "Result": "edgead.result",
    "Rules": "edgead.ops",
    "Sink": "edgead.stream.sinks.base",
    "Source": "edgead.stream.sources",
    "build": "edgead.workstation",
}

disable_telemetry()  # before any engine is imported


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'edgead' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
