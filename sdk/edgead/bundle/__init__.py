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
    ScoreSpec,
    Thresholds,
)
from edgead.bundle.matching import KindSpec, MatchingSpec, ProposalSpec, SlotSpec
from edgead.bundle.store import Bundle
from edgead.bundle.structs import Scale

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
    "KindSpec",
    "Manifest",
    "MapSpec",
    "MatchingSpec",
    "Member",
    "PlantedDefect",
    "ProposalSpec",
    "Scale",
    "ScoreSpec",
    "SlotSpec",
    "Thresholds",
    "TileSpec",
]
