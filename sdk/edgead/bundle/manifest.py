"""Defines the manifest: everything a runtime must know about a bundle, typed and validated.

It is data, not code: how a frame becomes the network's input, how the network's maps become one anomaly
map and one score, at which score a part is refused, and where all of it came from.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Literal

import msgspec

from edgead.bundle.detection import Detection
from edgead.bundle.input_spec import InputSpec
from edgead.bundle.matching import MatchingSpec
from edgead.bundle.structs import Scale, Struct
from edgead.errors import BundleError

SCHEMA = 1
MEMBER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")

Precision = Literal["fp32", "fp16", "int8"]
Range = tuple[float, float]  # the least and the most that was seen

MOST_FRAMES = 32  # of one batch, as the CUDA kernels take them
THUMBNAIL = 48  # cells a side of the mean picture in a health profile


class MapSpec(Struct, frozen=True):
    """One output of the graph, (B, h, w), and its part in the fusion: `weight * (map * scale + offset)`."""

    name: str
    weight: float = 1.0
    scale: float = 1.0
    offset: float = 0.0


class ScoreSpec(Struct, frozen=True):
    """The image score: the fused map's maximum, or the mean of its `top` largest values."""

    top: int = 1

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top must be at least 1, not {self.top}")


class HistogramSpec(Struct, frozen=True):
    """How much of each component lies in each cell of a grid, against what is usual of good parts.

    `statistics` names a .npy member, float32 (2 + R, D) with D = rows * columns * (K - 1), an entry for each cell (row
    by row) and in it each component but the background: the mean and the standard deviation of every entry over good
    parts, then the R rows of a factor U of the inverse covariance, U^T U, which holds no entry too large for FP32.
    """

    rows: int
    columns: int
    statistics: str
    scale: Scale  # of the distance ||U (v - mean)||

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"a grid of {self.rows} rows and {self.columns} columns has no cell")


class ComponentSpec(Struct, frozen=True):
    """From the graph's `components` (B, K, h, w), class logits, to the logical branch (`edgead.ops.components`).

    The image score is the sum of both branches, each `(value - center) / spread`: `logical`, the sum of the histograms'
    distances, and `structural`, the score of the fused map. The logical one is at least `least`, so that what is usual
    of it in good parts does not blur the other.
    """

    names: tuple[str, ...]  # of the K classes; the first is the background and counts nowhere
    height: int  # the grid on which every cell gets the label of its largest logit, in cells
    width: int
    histograms: tuple[HistogramSpec, ...]
    logical: Scale
    structural: Scale
    least: float | None = None  # of the scaled logical branch; none in older bundles

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= 255 or len(set(self.names)) != len(self.names):
            raise ValueError("components need 2 to 255 names, all different, of which the first is the background's")
        if not (1 <= self.height <= 8192 and 1 <= self.width <= 8192):
            raise ValueError(f"a grid of {self.width}x{self.height} is outside 1..8192")
        if not self.histograms:
            raise ValueError("components need at least one histogram")
        for one in self.histograms:
            if self.height % one.rows or self.width % one.columns:
                raise ValueError(f"{self.width}x{self.height} labels do not divide into {one.columns}x{one.rows} cells")


class FusionSpec(Struct, frozen=True):
    """From the graph's maps to one map and one score (carried out by `edgead.ops.fuse`)."""

    maps: tuple[MapSpec, ...]
    height: int  # the grid of a frame's map, in cells; each tile has its share of it
    width: int
    combine: Literal["sum", "product"] = "sum"
    sigma: float = 0.0  # Gaussian smoothing of the combined map, in cells; 0 is none
    mask: str | None = None  # PNG member of the grid's size, 255 where the part is judged and 0 where nothing counts
    score: ScoreSpec = ScoreSpec()
    components: ComponentSpec | None = None  # the logical branch, of methods that count components
    matching: MatchingSpec | None = None  # the logical branch, of methods that match objects

    def __post_init__(self) -> None:
        if not self.maps and self.matching is None:
            raise ValueError("a fusion needs at least one map")
        if not (1 <= self.height <= 8192 and 1 <= self.width <= 8192):
            raise ValueError(f"a grid of {self.width}x{self.height} is outside 1..8192")
        if not 0 <= self.sigma <= 100:
            raise ValueError(f"sigma must be in 0..100 cells, not {self.sigma}")
        if self.components is not None and self.matching is not None:
            raise ValueError("a fusion has components or matching, not both")

    @property
    def members(self) -> tuple[str, ...]:
        """The bundle's members that it names."""
        histograms = () if self.components is None else self.components.histograms
        matched = () if self.matching is None else self.matching.members
        return (*(() if self.mask is None else (self.mask,)), *(one.statistics for one in histograms), *matched)


class Thresholds(Struct, frozen=True):
    """Raw scores at which a part is refused, fitted to good images (edgead_calibration.thresholds).

    `calibrated = (raw - center) / (threshold - center)`: 0 is a typical good part, 1 the threshold.
    """

    image: float
    image_center: float
    pixel: float
    pixel_center: float
    false_alarm_rate: float  # asked for
    images: int  # good images it was fitted to
    interval: tuple[float, float]  # 95 % interval of the false-alarm rate to expect
    promised: bool  # whether that many images can promise the rate by counting alone
    pixel_interval: tuple[float, float] | None = None  # the same interval of good parts that show a region
    tail_interval: tuple[float, float] | None = None  # by the fitted tail, where the image threshold lies in it
    chosen: bool = False  # by a person, not fitted; the rate is then what good images let expect
    outliers: int = 0  # good images whose scores do not belong to the tail of the others', not among `images`
    aimed_rate: float = 0.0  # they were set for: more than what was asked for of too few images; 0 of bundles of before
    parts: int = 0  # different parts that the images show, on which promises rest; 0: as many as images

    @property
    def counted(self) -> int:
        """Different parts on which the promise rests."""
        return self.parts or self.images

    def __post_init__(self) -> None:
        if not (self.image > self.image_center and self.pixel > self.pixel_center):
            raise ValueError("a threshold must lie above its center")
        if not 0 < self.false_alarm_rate < 1:
            raise ValueError(f"a false-alarm rate must lie in (0, 1), not {self.false_alarm_rate}")


class Artifact(Struct, frozen=True):
    """One network file, and the numbers that hold for it in this precision on this engine alone.

    Engines want INT8 in different forms and round differently, so that a quantized network is fitted through the one
    that will run it. Two artifacts may share a file.
    """

    member: str
    precision: Precision
    thresholds: Thresholds
    good_scores: tuple[float, ...]  # raw scores that good images have as new parts, so thresholds can be refitted
    good_maxima: tuple[float, ...]  # the same images' largest raw map values
    golden: tuple[str, ...]  # members with the expected fused map (.npy, float32), one per golden frame
    tolerance: float  # largest difference allowed between an engine's map and a golden map
    golden_scores: tuple[float, ...] = ()  # expected raw scores, one per golden frame; none in bundles of before
    score_tolerance: float = 0.05  # the same of calibrated scores, times the golden score where that exceeds 1
    good_margin: tuple[float, float] = (0.0, 0.0)  # what good scores and good maxima may be off by
    good_parts: tuple[int, ...] = ()  # the number of the part that each shows; empty: each shows another
    engine: str = ""  # the only engine that may run it; empty: any
    batches: tuple[int, ...] = (1,)  # frames judged at once, for engines that are built for fixed numbers of them

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or max(self.batches) > MOST_FRAMES:
            raise ValueError(f"batches must lie in 1..{MOST_FRAMES}, not {self.batches}")


class HealthProfile(Struct, frozen=True, rename={"color": "colour", "likeness_of_color": "likeness_of_colour"}):
    """What the camera showed of good parts, for a line that must notice when it shows something else.

    Measured by edgead.stream.health, fitted by edgead_calibration.health.
    """

    images: int  # it was fitted to
    sizes: tuple[tuple[int, int], ...]  # (width, height) of the frames; none: any
    brightness: Range  # mean gray level, 0..255
    contrast: Range  # standard deviation of the gray levels
    saturated: Range  # share of pixels at the upper end
    sharpness: Range  # the strongest differences between near pixels, in units of the contrast
    color: Range  # mean distance between the color channels, gray levels
    reach: Range  # cells of the thumbnail by which good parts were found across and down of their mean place, at most
    likeness: float  # least correlation with the mean picture, in its best place
    likeness_of_color: float  # least correlation with it in red minus blue
    thumbnail: bytes  # the mean picture, THUMBNAIL x THUMBNAIL x 3 BGR

    def __post_init__(self) -> None:
        if len(self.thumbnail) != 3 * THUMBNAIL**2:
            raise ValueError(f"the thumbnail must have {3 * THUMBNAIL**2} bytes, not {len(self.thumbnail)}")


class Member(Struct, frozen=True):
    """What must be found under a name in the file."""

    sha256: str
    size: int


class Manifest(Struct, frozen=True):
    """The first member of every bundle."""

    schema: int
    name: str
    method: str
    input: InputSpec
    fusion: FusionSpec
    artifacts: tuple[Artifact, ...]
    golden_frames: tuple[str, ...]  # PNG members; an engine must reproduce their maps before it may judge
    members: dict[str, Member]
    provenance: dict[str, Any]  # data digest, seed, versions, resolved configuration, licenses, measurements
    health: HealthProfile | None = None  # None in bundles of before there was one
    detection: Detection | None = None  # likewise
    mm_per_pixel: float = 0.0  # of the frame; 0: not known
    golden_anomalies: tuple[str, ...] = ()  # golden frames that must be NG; none in bundles of before there were any

    def __post_init__(self) -> None:
        if not self.artifacts:
            raise ValueError("a bundle needs at least one network")
        for artifact in self.artifacts:
            if len(artifact.golden) != len(self.golden_frames):
                raise ValueError(f"{artifact.member} must have one golden map per golden frame")
            if artifact.golden_scores and len(artifact.golden_scores) != len(self.golden_frames):
                raise ValueError(f"{artifact.member} must have one golden score per golden frame")
        check_tiles(self.input, self.fusion)
        for name in self.golden_anomalies:
            if name not in self.golden_frames:
                raise ValueError(f"'{name}' must be NG and is no golden frame")
        for name in (
            *self.golden_frames,
            *self.fusion.members,
            *(n for a in self.artifacts for n in (a.member, *a.golden)),
        ):
            if name not in self.members:
                raise ValueError(f"member '{name}' is used but not listed")

    def artifact(self, precision: str = "auto", engine: str = "") -> Artifact:
        """The network of that precision for that engine (empty: one of any engine's).

        `auto` is the first, which the build puts there as the best. Raises BundleError where there is none.
        """
        self.check_precision(precision)
        for artifact in self.artifacts:
            if precision in ("auto", artifact.precision) and (not engine or artifact.engine in ("", engine)):
                return artifact
        fits = ", ".join(dict.fromkeys(a.engine for a in self.artifacts if precision in ("auto", a.precision)))
        network = "network" if precision == "auto" else f"{precision} network"
        raise BundleError(f"bundle '{self.name}' has no {network} for {engine}; it has one for {fits}")

    def precisions(self, engines: Collection[str]) -> list[str]:
        """The precisions that one of the engines can run, best first."""
        return list(dict.fromkeys(a.precision for a in self.artifacts if a.engine in ("", *engines)))

    def check_precision(self, precision: str) -> None:
        """Raise BundleError unless there is a network of that precision for some engine."""
        have = dict.fromkeys(artifact.precision for artifact in self.artifacts)
        if precision != "auto" and precision not in have:
            raise BundleError(f"bundle '{self.name}' has no {precision} network; it has {', '.join(have)}")


def check_tiles(spec: InputSpec, fusion: FusionSpec) -> None:
    """Raise ValueError where the cells of a frame's map do not divide into those of its tiles."""
    if spec.tiles is None:
        return
    if fusion.components is not None or fusion.matching is not None:
        raise ValueError("components and objects are those of a whole frame: they go with no tiles")
    for cells, pixels, side in zip((fusion.height, fusion.width), spec.frame, (spec.height, spec.width), strict=True):
        if cells * side % pixels or cells * spec.tiles.overlap % pixels:
            raise ValueError(f"{cells} cells do not divide into tiles of {side} pixels in {pixels}")


def encode(manifest: Manifest) -> bytes:
    """The manifest as stable, readable JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1) + b"\n"


def decode(raw: bytes) -> Manifest:
    """The inverse of `encode`; raises BundleError naming the field that is wrong."""
    try:
        schema = msgspec.json.decode(raw, type=dict[str, Any]).get("schema")
        if not isinstance(schema, int):
            raise BundleError("the manifest has no schema number: this is not an edgead bundle")
        if schema < 1:
            raise BundleError(f"the manifest has schema {schema}: no edgead wrote it")
        if schema > SCHEMA:
            raise BundleError(
                f"the bundle has schema {schema} and this edgead reads up to {SCHEMA}: update edgead on this machine"
            )
        return msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"the manifest is damaged: {error}; copy or build the bundle again") from error
