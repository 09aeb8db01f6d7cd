"""Defines what a build is asked to do: one typed value, from the command line, the environment and a YAML file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from edgead.config.fields import Bits, Config, Count, Natural, Positive, Threads, exclusive, option
from edgead.config.loader import Resolved, from_environment, from_yaml, given, resolve
from edgead.errors import UsageError
from edgead.types import MOST_TILES

FILE = "edgead.yaml"
DEFAULT_BUDGET = "5m"
AUTO = "auto"
Rate = Annotated[float, msgspec.Meta(gt=0, le=0.5)]  # a share of parts
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


class BuildConfig(Config, frozen=True, kw_only=True):
    """Every option of `edgead build`, with its default. Exactly one of budget, epochs and steps is in force.

    Raises UsageError for values that do not fit together; their types and ranges are checked where it is read or used.
    """

    prefix: ClassVar[str] = "EDGEAD_"

    method: Annotated[str, option("What is trained.")] = "stlm"
    preset: Annotated[str, option("The form for the edge, or the model as published: paper.")] = "edge"
    data: Annotated[
        str | dict[str, Any],  # a mapping: anomalib's Folder keys
        option("Folder of good images, or of a data set (MVTec AD, MVTec LOCO, anomalib's folders)."),
    ] = ""
    budget: Annotated[
        str,
        option("Training time, such as 5m; 0 trains nothing.", group="limits", shown_default=DEFAULT_BUDGET),
    ] = ""
    epochs: Annotated[Positive | None, option("Train for so many passes over the images instead.", group="limits")] = (
        None
    )
    steps: Annotated[
        Count | None,
        option(
            "Train for exactly so many steps instead: repeats a build bit for bit.",
            group="limits",
        ),
    ] = None
    size: Annotated[
        int | str | tuple[int, int],
        option(
            "Network's input in pixels: a side, or WIDTHxHEIGHT; multiples of 32.",
            shown_default="as large as the preset's, in the images' shape",
            hint="a side such as 256, or WIDTHxHEIGHT such as 384x160, in multiples of 32",
        ),
    ] = ""
    tiles: Annotated[
        str | tuple[int, int],
        option(
            "Cut large frames into COLUMNSxROWS tiles, each of the network's size; auto finds out how many.",
            shown_default="frames stay whole",
            hint="COLUMNSxROWS such as 4x3, or auto",
        ),
    ] = ""
    tile_overlap: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=1024)],
        option("Pixels of the network's input by which a tile lies over the next; a multiple of 32."),
    ] = 32
    seed: Annotated[Natural, option("The same seed, steps, images and threads give the same network.")] = 0
    false_alarm_rate: Annotated[Rate, option("Share of good parts that may be refused.")] = 0.01
    bits: Annotated[Bits, option("Full scale of 16-bit images: 10, 12, 14 or 16.")] = 16
    out: Annotated[str, option("The bundle to write.", short="-o", shown_default="<data folder>.edgead")] = ""
    device: Annotated[str, option("Where to train: cpu, cuda or cuda:N.")] = "cpu"
    threads: Annotated[Threads, option("CPU threads of the build.", shown_default="one per core")] = 0
    weights: Annotated[str, option("File, or folder of files, with pretrained weights.")] = ""
    distill_from: Annotated[str, option("Teach a small network the maps of this bigger one.", metavar="BUNDLE")] = ""
    recipe: Annotated[
        str,
        option("Add INT8 and FP16 for: cpu, jetson-orin, jetson-thor, rtx.", shown_default="FP32 alone"),
    ] = ""
    mask: Annotated[
        str,
        option("Image of what is judged, white, or a bundle of csad, whose components are judged."),
    ] = ""
    masks_from: Annotated[
        str,
        option("A bundle of csad, whose components' pieces are the objects that sam_lad matches.", metavar="BUNDLE"),
    ] = ""
    exclude: Annotated[
        str, option("Text file of good images to leave out, a name a line, as a build lists its outliers.")
    ] = ""
    groups: Annotated[
        Literal["auto", "yes", "no"],
        option("Whether images that look alike show one part and count once; auto: where they were taken in a row."),
    ] = "auto"
    mm_per_pixel: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1e6)],
        option("Scale of the frames, so that sizes are said in millimeters.", shown_default="not known"),
    ] = 0.0
    scale: Annotated[
        str,
        option(
            "The scale of the frames by two points and their distance instead.",
            metavar="X1,Y1,X2,Y2,MM",
            hint="two points of a frame in pixels and their distance in millimeters, such as 120,80,620,80,25",
        ),
    ] = ""
    textures: Annotated[
        str, option("Folder of texture images for pseudo-anomalies.", shown_default="procedural ones")
    ] = ""
    data_license: Annotated[
        str,
        option(
            "Terms of the images, such as own or CC-BY-4.0.",
            metavar="NAME",
            shown_default="what a license file beside them says",
        ),
    ] = ""
    commercial: Annotated[bool, option("Refuse weights, images and textures that are not free for commercial use.")] = (
        False
    )
    program: Annotated[
        str,
        option("Also keep the network for `edgead compile --via torch-tensorrt`.", metavar="FILE.pt2"),
    ] = ""
    options: Annotated[
        dict[str, Any],
        option("A hyper-parameter of the method, as NAME=VALUE; repeatable.", flag="--set", pairs=True),
    ] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for side in self.input_size or ():
            if side % 32 or not 64 <= side <= 2048:
                raise UsageError(f"size must be a multiple of 32 between 64 and 2048, not {side}")
        if self.tile_overlap % 32:
            raise UsageError(f"tile_overlap must be a multiple of 32, not {self.tile_overlap}")
        if self.tile_grid is not None and not 1 <= math.prod(self.tile_grid) <= MOST_TILES:
            raise UsageError(f"tiles must be 1 to {MOST_TILES}, not {self.tile_grid[1]}x{self.tile_grid[0]}")
        if self.tiles and (self.program or self.distill_from):
            raise UsageError("program and distill_from go with whole frames alone: leave out tiles")
        if self.program and not self.program.endswith(".pt2"):
            raise UsageError(f"program must be a file name that ends in .pt2, not '{self.program}'")
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f"device must be cpu, cuda or cuda:N, not '{self.device}'")
        exclusive(budget=self.budget, epochs=self.epochs, steps=self.steps)
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise UsageError(f"epochs must be above 0, not {self.epochs:g}")
        if self.budget_seconds == math.inf:
            raise UsageError("a budget must end: write it like 90s, 5m or 1h30m, or 0 for no training")

        if self.scale and self.mm_per_pixel:
            raise UsageError("give mm_per_pixel or scale, not both")
        parse_scale(self.scale)

    @property
    def method_options(self) -> dict[str, Any]:
        """The hyper-parameters that are given to the method."""
        return self.options | ({"masks_from": self.masks_from} if self.masks_from else {})

    @property
    def known_scale(self) -> float:
        """Millimeters of a pixel of the frames; 0: not known."""
        return self.mm_per_pixel or parse_scale(self.scale)

    @property
    def budget_seconds(self) -> float | None:
        """Seconds of training, or None where epochs or steps say when to stop."""
        if self.epochs is not None or self.steps is not None:
            return None
        return parse_duration(self.budget or DEFAULT_BUDGET)

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of the network's input in pixels; None: the preset's size, in the images' shape."""
        if self.size in ("", 0):
            return None
        sides = str(self.size).lower().split("x") if isinstance(self.size, (str, int)) else [*map(str, self.size)]
        if not all(side.strip().isdecimal() for side in sides) or len(sides) > 2:
            raise UsageError(f"size must be a side such as 256, or WIDTHxHEIGHT such as 384x160, not '{self.size}'")
        return int(sides[-1]), int(sides[0])

    @property
    def tile_grid(self) -> tuple[int, int] | None:
        """Rows and columns of tiles, 1 x 1 for whole frames; None: not said, or to be found out (`auto`)."""
        if self.tiles in ("", AUTO):
            return None
        sides = self.tiles.lower().split("x") if isinstance(self.tiles, str) else [*map(str, self.tiles)]
        if len(sides) != 2 or not all(side.strip().isdecimal() for side in sides):
            raise UsageError(f"tiles must be COLUMNSxROWS such as 4x3, or auto, not '{self.tiles}'")
        return int(sides[1]), int(sides[0])

    @property
    def bundle_path(self) -> Path:
        """Where the bundle goes."""
        if self.out:
            return Path(self.out)
        root = self.data if isinstance(self.data, str) else str(self.data.get("root", ""))
        return Path(f"{Path(root).resolve().name or 'model'}.edgead")


def parse_scale(text: str) -> float:
    """Millimeters of a pixel by two points (x, y) and their distance in millimeters, five numbers; 0 for no text.
    Raises UsageError."""
    if not text.strip():
        return 0.0
    try:
        x, y, other_x, other_y, distance = (float(number) for number in text.split(","))
    except ValueError:
        raise UsageError(f"scale must be X1,Y1,X2,Y2,MM such as 120,80,620,80,25, not '{text}'") from None
    pixels = math.hypot(other_x - x, other_y - y)
    if not (pixels >= 1 and 0 < distance < math.inf and math.isfinite(pixels)):
        raise UsageError(f"scale needs two points at least a pixel apart and a distance above 0, not '{text}'")
    return distance / pixels


def parse_duration(text: str) -> float:
    """Seconds in a duration such as `90s`, `5m`, `1h30m` or 0; raises UsageError, for other bare numbers too."""
    if text.strip() == "0":
        return 0.0
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        raise UsageError(f"'{text}' has no unit: write {text.strip()}m for minutes or {text.strip()}s for seconds")
    match = _DURATION.fullmatch(text.strip())
    parts = match.groups() if match else ()
    if not any(parts):
        raise UsageError(f"'{text}' is not a duration: write it like 90s, 5m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in parts)
    return 3600 * hours + 60 * minutes + seconds


def load_build(
    path: Path | None = None,
    command_line: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Resolved[BuildConfig]:
    """What a build is asked to do: the command line's values over EDGEAD_* over the YAML file.

    `path` is read if given, else edgead.yaml in the current folder if there is one. Raises UsageError, also where no
    data is named.
    """
    file = path or Path(FILE)
    layers = [from_yaml(BuildConfig, file)] if path is not None or file.exists() else []
    layers += [from_environment(BuildConfig, environment), given(BuildConfig, command_line or {})]
    resolved = resolve(BuildConfig, layers)
    if not resolved.config.data:
        raise UsageError(f"say where the good images are: --data FOLDER, or `data: FOLDER` in {FILE}")
    return resolved
