"""Loads settings: typed structs, and one loader that knows where each value came from."""

from edgead.config.build import BuildConfig, load_build
from edgead.config.loader import Resolved
from edgead.config.station import StationConfig, load_station

__all__ = ["BuildConfig", "Resolved", "StationConfig", "load_build", "load_station"]
