"""The bundle: the one file that goes from the workstation to the line."""

from edgead.bundle.manifest import (
    SCHEMA,
    Artifact,
    FusionSpec,
    HealthProfile,
    InputSpec,
    Manifest,
    MapSpec,
    Member,
    ScoreSpec,
    Thresholds,
)
from edgead.bundle.store import Bundle

__all__ = [
    "SCHEMA",
    "Artifact",
    "Bundle",
    "FusionSpec",
    "HealthProfile",
    "InputSpec",
    "Manifest",
    "MapSpec",
    "Member",
    "ScoreSpec",
    "Thresholds",
]
