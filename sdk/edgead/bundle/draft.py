"""A bundle that is being made: networks are read through it before there are thresholds, and it is written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgead.bundle.detection import Detection
from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import (
    SCHEMA,
    Artifact,
    FusionSpec,
    HealthProfile,
    Manifest,
    Precision,
    Thresholds,
)
from edgead.bundle.store import Bundle, list_members
from edgead.errors import BundleError


class Network(Protocol):
    """A network file of a model."""

    @property
    def member(self) -> str: ...

    @property
    def precision(self) -> str: ...


class Spec(Protocol):
    """What an engine has to know of a model."""

    @property
    def name(self) -> str: ...

    @property
    def input(self) -> InputSpec: ...

    @property
    def fusion(self) -> FusionSpec: ...

    def artifact(self, precision: str = "auto", engine: str = "") -> Network:
        """The network of that precision for that engine; raises BundleError where there is none."""

    def check_precision(self, precision: str) -> None:
        """Raise BundleError unless there is a network of that precision."""


class Model(Protocol):
    """What an engine can run: a bundle, or the draft of one."""

    @property
    def manifest(self) -> Spec: ...

    def read(self, name: str) -> bytes:
        """The bytes of a member."""


@dataclass(frozen=True, slots=True)
class DraftNetwork:
    """A network file, and nothing yet that was fitted through it."""

    member: str
    precision: Precision = "fp32"


@dataclass(frozen=True, slots=True)
class DraftSpec:
    """What is known of a model before thresholds are: how images get into its one network, and maps out of it."""

    name: str
    method: str
    input: InputSpec
    fusion: FusionSpec
    network: DraftNetwork
    mm_per_pixel: float = 0.0

    def artifact(self, precision: str = "auto", engine: str = "") -> DraftNetwork:
        self.check_precision(precision)
        return self.network

    def check_precision(self, precision: str) -> None:
        if precision not in ("auto", self.network.precision):
            raise BundleError(f"the draft of '{self.name}' has no {precision} network")


@dataclass(slots=True)
class BundleDraft:
    """The members so far. What is fitted through its network is added by `fit` and `add_golden`, each called once."""

    manifest: DraftSpec
    members: dict[str, bytes]
    provenance: dict[str, Any]
    health: HealthProfile | None = None
    detection: Detection | None = None
    _fitted: dict[str, Any] = field(default_factory=dict)  # fields of the artifact
    _golden: dict[str, Any] = field(default_factory=dict)  # fields of the manifest

    def read(self, name: str) -> bytes:
        """The bytes of a member; raises BundleError where there is none."""
        if name not in self.members:
            raise BundleError(f"the draft has no member '{name}'")
        return self.members[name]

    def fit(
        self,
        thresholds: Thresholds,
        good_scores: Sequence[float],
        good_maxima: Sequence[float],
        good_margin: tuple[float, float] = (0.0, 0.0),
        good_parts: Sequence[int] = (),
    ) -> None:
        """Add the thresholds, and the raw scores and map maxima of good images that they are fitted to."""
        assert not self._fitted
        self._fitted = {
            "thresholds": thresholds,
            "good_scores": tuple(good_scores),
            "good_maxima": tuple(good_maxima),
            "good_margin": good_margin,
            "good_parts": tuple(good_parts),
        }

    def add_golden(
        self,
        frames: Mapping[str, bytes],
        maps: Mapping[str, bytes],
        scores: Sequence[float],
        tolerance: float,
        anomalies: Sequence[str],
    ) -> None:
        """Add frames (PNG by member), the maps (.npy) and raw scores they must give, and which of them must be NG."""
        assert not self._golden
        self.members |= {**frames, **maps}
        self._golden = {"golden_frames": tuple(frames), "golden_anomalies": tuple(anomalies)}
        self._fitted |= {"golden": tuple(maps), "golden_scores": tuple(scores), "tolerance": tolerance}

    def bundle(self) -> Bundle:
        """The bundle as it would be written now; thresholds and golden frames must be there."""
        assert self._golden
        network = self.manifest.network
        manifest = Manifest(
            schema=SCHEMA,
            name=self.manifest.name,
            method=self.manifest.method,
            input=self.manifest.input,
            fusion=self.manifest.fusion,
            artifacts=(Artifact(member=network.member, precision=network.precision, **self._fitted),),
            members=list_members(self.members),
            provenance=self.provenance,
            health=self.health,
            detection=self.detection,
            mm_per_pixel=self.manifest.mm_per_pixel,
            **self._golden,
        )
        return Bundle(manifest, self.members)
