"""edgead: visual anomaly detection on the factory line."""

from edgead.bundle import Bundle
from edgead.detector import Detector
from edgead.errors import EdgeadError
from edgead.telemetry import disable_telemetry
from edgead.types import Frame, Region, Result, Timings, Verdict

__all__ = ["Bundle", "Detector", "EdgeadError", "Frame", "Region", "Result", "Timings", "Verdict"]
__version__ = "0.1.0"

disable_telemetry()  # before any engine is imported
