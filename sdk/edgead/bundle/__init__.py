"""Reads and writes bundles: the one file that goes from the workstation to the line."""

from edgead.bundle.detection import Detection, DetectionCurve, PlantedDefect
from edgead.bundle.input_spec import InputSpec, TileSpec
from edgead.bundle.manifest import (
    SCHEMA,
    Artifact,
    ComponentSpec,
    FusionSpec,
    HealthProfile,
    HistogramSpec,
    Manifest,
    MapSpec,
    Member,
    Scale,
    ScoreSpec,
    Thresholds,
)
from edgead.bundle.store import Bundle

__all__ = [
    "SCHEMA",
    "Artifact",
    "Bundle",
    "ComponentSpec",
    "Detection",
    "DetectionCurve",
    "FusionSpec",
    "HealthProfile",
    "HistogramSpec",
    "InputSpec",
    "Manifest",
    "MapSpec",
    "Member",
    "PlantedDefect",
    "Scale",
    "ScoreSpec",
    "Thresholds",
    "TileSpec",
]
