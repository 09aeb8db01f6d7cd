"""Defines what an anomaly detection method offers, and the table that names them.

A method has presets: the published model, and the form for the edge. Each is a frozen dataclass in a file of its own
and one entry in METHODS. Its fields are its hyper-parameters, so `edgead build --method NAME --preset PRESET
--set FIELD=VALUE` needs nothing more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec
from edgead.errors import DataError, UsageError, nearest
from edgead.registry import Lazy, Registry
from edgead.types import Labels, Mask
from edgead_calibration.conformal import assign_folds
from edgead_tools.training.run import Run

METHODS = Registry(  # "name.preset", so that a package may add a preset to a method of another
    "edgead.methods",
    Lazy,
    {
        "ast_mfr.edge": Lazy("edgead_tools.methods.ast_mfr.edge:AstMfrEdge", extra="build"),
        "ast_mfr.paper": Lazy("edgead_tools.methods.ast_mfr.paper:AstMfrPaper", extra="build"),
        "auto.edge": Lazy("edgead_tools.methods.auto:AutoEdge", extra="build"),
        "csad.edge": Lazy("edgead_tools.methods.csad.edge:CsadEdge", extra="build"),
        "csad.paper": Lazy("edgead_tools.methods.csad.paper:CsadPaper", extra="build"),
        "sam_lad.edge": Lazy("edgead_tools.methods.sam_lad.edge:SamLadEdge", extra="build"),
        "sam_lad.paper": Lazy("edgead_tools.methods.sam_lad.paper:SamLadPaper", extra="build"),
        "stlm.edge": Lazy("edgead_tools.methods.stlm.edge:StlmEdge", extra="build"),
        "stlm.paper": Lazy("edgead_tools.methods.stlm.paper:StlmPaper", extra="build"),
    },
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TrainingImages:
    """Good images at network size, (N, H, W, 3) uint8 BGR, as arrays or memory maps; the two sets share none."""

    train: NDArray[np.uint8]
    calibration: NDArray[np.uint8]  # to fit statistics to: the network has not seen them
    large: NDArray[np.uint8] | None = None  # `train` at the size of the bundle that is distilled from
    names: tuple[str, ...] = ()  # of components that a person drew, the background first
    labels: Mapping[int, Labels] = dataclasses.field(default_factory=dict)  # (H, W), by index in `train`
    masks: Mapping[int, list[Mask]] = dataclasses.field(default_factory=dict)  # proposals (H, W), by index in `train`
    tiles: int = 1  # images in a row that are the tiles of one frame, in the order of `edgead.ops.tiles`
    groups: tuple[int, ...] = ()  # of frames that show one part, by frame, `train` before `calibration`; none: each one

    def __post_init__(self) -> None:
        for name, images in (("train", self.train), ("calibration", self.calibration)):
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
                raise DataError(f"{name} images must be uint8 (N, H, W, 3), not {images.dtype} {images.shape}")
            if len(images) == 0:
                raise DataError(f"there are no {name} images: give more good images")
        if len(self.train) % self.tiles or len(self.calibration) % self.tiles:
            raise DataError(f"{len(self.train)} and {len(self.calibration)} images are not all of {self.tiles} tiles")
        if self.groups and len(self.groups) * self.tiles != self.count:
            raise DataError(f"{len(self.groups)} groups are told of {self.count // self.tiles} frames")
        if self.train.shape[1:] != self.calibration.shape[1:]:
            raise DataError(f"train and calibration images differ: {self.train.shape} and {self.calibration.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train.shape[1], self.train.shape[2]

    @property
    def count(self) -> int:
        """Images that statistics are fitted to: those trained on and those kept from the training."""
        return len(self.train) + len(self.calibration)

    def folds(self) -> NDArray[np.intp]:
        """The fold of each image, those to train on first (`assign_folds`); the tiles of a frame are in one."""
        return np.repeat(assign_folds(self.count // self.tiles, groups=self.groups), self.tiles)


class Beside(NamedTuple):
    """An exported network whose outputs join those of the one that is trained; both take the same input."""

    network: bytes  # ONNX
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a method hands over to export.

    `network` is on the CPU, in eval mode and FP32. It maps an image (B, 3, H, W), RGB and normalized, to named
    maps (B, h, w) and, where it segments, `components` (B, K, h, w); where objects are matched, their features
    (B, C, h, w). `input` is in BGR order all the same: export
    folds the order into the network.
    """

    network: nn.Module
    input: InputSpec
    fusion: FusionSpec
    members: Mapping[str, bytes] = dataclasses.field(default_factory=dict, kw_only=True)  # that the fusion names
    # Maps (N, h, w) by name that the good images in order, `train` before `calibration`, get from statistics, memories
    # and scales without their own fold (`edgead_calibration.conformal.assign_folds`); empty: the method gives none.
    out_of_fold: Mapping[str, NDArray[np.float32]] = dataclasses.field(default_factory=dict, kw_only=True)
    group: int = dataclasses.field(default=1, kw_only=True)  # images that a batch is made of: the tiles of a frame, all
    untrained: frozenset[str] = dataclasses.field(default=frozenset(), kw_only=True)  # maps that no training shaped
    # Indices of good images, `train` before `calibration`, that only strange ones resemble: no measure of others.
    strange: frozenset[int] = dataclasses.field(default=frozenset(), kw_only=True)
    # Raw scores and largest map values (N,) that these images get likewise, of methods that judge more than their maps.
    good: tuple[NDArray[np.float64], NDArray[np.float64]] | None = dataclasses.field(default=None, kw_only=True)
    beside: Beside | None = dataclasses.field(default=None, kw_only=True)  # what the exported graph gets from elsewhere
    report: dict[str, Any]  # for the bundle's provenance; `training.report.training_report` at least


class Method(Protocol):
    """Learns from good images. What is named here are ClassVars or properties, beside the fields that are options."""

    @property
    def name(self) -> str: ...

    @property
    def preset(self) -> str: ...

    @property
    def size(self) -> int:
        """The side of its square input in pixels, unless a build asks for another."""

    @property
    def memory_size(self) -> int:
        """The same where its memory stands alone, without students, of frames that have so many pixels; 0: as ever."""

    @property
    def distils(self) -> bool:
        """Whether it can learn the maps of another bundle (`Run.distill_from`)."""

    @property
    def memory(self) -> int:
        """Good patches that it remembers without training; 0: none, so that it must be trained."""

    @property
    def segments(self) -> bool:
        """Whether it learns the components of a part, and takes label maps of them (`TrainingImages.labels`)."""

    @property
    def weights(self) -> tuple[str, ...]:
        """The pretrained weights it takes (see `edgead_tools.backbones.weights`), which may depend on its options."""

    def train(self, images: TrainingImages, run: Run) -> Trained: ...


def create_method(name: str, preset: str, options: Mapping[str, Any]) -> Method:
    """The method's preset with those options; raises UsageError naming the nearest name, or the wrong value."""
    kind = _method_class(name, preset)
    fields = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in fields:
            raise UsageError(f"method '{name}', preset '{preset}', has no option '{option}': {nearest(option, fields)}")
    words = {option: get_args(hint) for option, hint in get_type_hints(kind).items() if get_origin(hint) is Literal}
    options = {option: _as_word(value) if option in words else value for option, value in options.items()}
    for option in options.keys() & words.keys():
        if options[option] not in words[option]:
            known = ", ".join(words[option])
            raise UsageError(
                f"an option of method '{name}', preset '{preset}', cannot be used: '{option}' is one of {known}, "
                f"not '{options[option]}'"
            )
    try:
        method: Method = msgspec.convert(options, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"an option of method '{name}', preset '{preset}', cannot be used: {error}") from error
    return method


def _as_word(value: Any) -> Any:
    """What was written where YAML has read `yes` or `no` as a truth value."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def presets_by_method() -> dict[str, list[str]]:
    """The presets of each method, in the table's order."""
    found: dict[str, list[str]] = {}
    for key in METHODS:
        name, _, preset = key.partition(".")
        found.setdefault(name, []).append(preset)
    return found


def _method_class(name: str, preset: str) -> Any:
    known = presets_by_method()
    if name not in known:
        raise UsageError(f"no method is called '{name}': {nearest(name, known)}")
    if preset not in known[name]:
        raise UsageError(f"method '{name}' has no preset '{preset}': {nearest(preset, known[name])}")
    return METHODS[f"{name}.{preset}"].load(f"method '{name}'")
