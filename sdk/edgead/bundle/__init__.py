"""The bundle: the one file that goes from the workstation to the line."""

from edgead.bundle.manifest import (
    SCHEMA,
    Artifact,
    ComponentSpec,
    FusionSpec,
    HealthProfile,
    HistogramSpec,
    InputSpec,
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
    "FusionSpec",
    "HealthProfile",
    "HistogramSpec",
    "InputSpec",
    "Manifest",
    "MapSpec",
    "Member",
    "Scale",
    "ScoreSpec",
    "Thresholds",
]
