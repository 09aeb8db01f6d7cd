"""What a build is asked to do: one typed value, filled from the command line, the environment and a YAML file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from edgead.errors import UsageError, nearest

FILE = "edgead.yaml"
DEFAULT_BUDGET = "5m"
LIMITS = frozenset({"budget", "epochs", "steps"})  # of the training; the most explicit source decides which
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


class BuildConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every option of `edgead build`, with its default. Exactly one of budget, epochs and steps is in force."""

    method: str = "stlm"
    preset: str = "edge"  # the form for the edge, or the published model: paper
    data: str | dict[str, Any] = ""  # a folder, or anomalib's Folder keys
    out: str = ""  # the bundle; <name of the data folder>.edgead where empty
    budget: str = ""  # training time, such as 5m, 90s, 1h30m; DEFAULT_BUDGET where nothing is given
    epochs: float | None = None
    steps: int | None = None
    size: int = 0  # side of the network's square input in pixels; 0 is the preset's own
    seed: int = 0
    false_alarm_rate: float = 0.01
    bits: int = 16  # full scale of 16-bit images
    device: str = "cpu"
    threads: int = 0  # CPU threads of training; 0 is one per core
    weights: str = ""  # a file, or a folder of files, to take pretrained weights from before packages and the cache
    mask: str = ""  # an image of what is judged, white, or a bundle with components; everything is judged where empty
    textures: str = ""  # a folder of texture images for pseudo-anomalies; procedural ones where empty
    recipe: str = ""  # what else than FP32 the bundle holds (edgead_calibration.recipes); FP32 alone where empty
    program: str = ""  # a file for the network as a program of torch.export, for torch-tensorrt; none where empty
    distill_from: str = ""  # a bundle whose anomaly maps a smaller network learns to give
    options: dict[str, Any] = {}  # hyper-parameters of the method, by name

    def __post_init__(self) -> None:
        if self.size and (self.size % 32 or not 64 <= self.size <= 2048):
            raise UsageError(f"size must be a multiple of 32 between 64 and 2048, not {self.size}")
        if not 0 < self.false_alarm_rate <= 0.5:
            raise UsageError(f"false_alarm_rate must lie in (0, 0.5], not {self.false_alarm_rate}")
        if self.program and not self.program.endswith(".pt2"):
            raise UsageError(f"program must be a file name that ends in .pt2, not '{self.program}'")
        if self.bits not in (10, 12, 14, 16):
            raise UsageError(f"bits must be 10, 12, 14 or 16, not {self.bits}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed must be a whole number of 0 or more, not {self.seed}")
        if not 0 <= self.threads <= 1024:
            raise UsageError(f"threads must lie in 0..1024, not {self.threads}")
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f"device must be cpu, cuda or cuda:N, not '{self.device}'")
        limits = [name for name in sorted(LIMITS) if getattr(self, name) not in ("", None)]
        if len(limits) > 1:
            raise UsageError(f"give one of budget, epochs and steps, not {' and '.join(limits)}")
        for name, value in (("epochs", self.epochs), ("steps", self.steps), ("budget", self.budget_seconds)):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} must be above 0, not {value:g}")

    @property
    def budget_seconds(self) -> float | None:
        """Seconds of training, or None where epochs or steps say when to stop."""
        if self.epochs is not None or self.steps is not None:
            return None
        return parse_duration(self.budget or DEFAULT_BUDGET)

    @property
    def bundle_path(self) -> Path:
        """Where the bundle goes."""
        if self.out:
            return Path(self.out)
        root = self.data if isinstance(self.data, str) else str(self.data.get("root", ""))
        return Path(f"{Path(root).resolve().name or 'model'}.edgead")


def parse_duration(text: str) -> float:
    """Seconds in a duration such as `90s`, `5m` or `1h30m`; raises UsageError, for a number without a unit too."""
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        raise UsageError(f"'{text}' has no unit: write {text.strip()}m for minutes or {text.strip()}s for seconds")
    match = _DURATION.fullmatch(text.strip())
    parts = match.groups() if match else ()
    if not any(parts):
        raise UsageError(f"'{text}' is not a duration: write it like 90s, 5m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in parts)
    return 3600 * hours + 60 * minutes + seconds


def load_config(given: Mapping[str, Any], file: Path | None = None) -> BuildConfig:
    """The build's configuration: `given` (the command line, None where silent) over EDGEAD_* over the YAML file.

    `file` is read if named, else edgead.yaml in the current folder if there is one. Raises UsageError with the
    nearest known name for an unknown key, and for a missing file or data folder.
    """
    values: dict[str, Any] = {}
    for origin, source in (
        (f"in {file or FILE}", _read_yaml(file)),
        ("in the environment", _environment()),
        ("on the command line", given),
    ):
        said = {name: value for name, value in source.items() if value is not None}
        _check_each(said, origin)
        if LIMITS & said.keys():
            values = {name: value for name, value in values.items() if name not in LIMITS}
        values |= said
    config = _convert(values, "of the build")
    if not config.data:
        raise UsageError(f"say where the good images are: --data FOLDER, or `data: FOLDER` in {FILE}")
    return config


def _environment() -> dict[str, Any]:
    """What EDGEAD_* say of a build; an empty variable says nothing."""
    texts = {name: os.environ.get(f"EDGEAD_{name.upper()}") for name in BuildConfig.__struct_fields__}
    return {name: _from_text(name, text) for name, text in texts.items() if text}


def _from_text(name: str, text: str) -> object:
    """A variable's value: text, but for the two that may hold keys and values of their own."""
    if name == "options" or (name == "data" and text.lstrip().startswith("{")):
        return _yaml(text, f"EDGEAD_{name.upper()}")
    return text


def _check_each(values: Mapping[str, Any], origin: str) -> None:
    """Raise UsageError for a key or a value that cannot be used, saying where it stands."""
    for name, value in values.items():
        if name not in BuildConfig.__struct_fields__:
            raise UsageError(f"unknown key '{name}' {origin}: {nearest(str(name), BuildConfig.__struct_fields__)}")
        _convert({name: value}, origin)


def _convert(values: Mapping[str, Any], origin: str) -> BuildConfig:
    numbers = {name: str(values[name]) for name in ("budget", "data", "out") if type(values.get(name)) in (int, float)}
    try:  # a bare number in YAML may be a folder's name or a count of seconds
        return msgspec.convert({**values, **numbers}, BuildConfig, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"a value {origin} cannot be used: {error}") from error


def _read_yaml(file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE)
    if file is None and not path.exists():
        return {}
    try:
        content = _yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8: save it as that") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold keys and values, such as `data: good_parts/`")
    return content


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` pairs as a mapping, values read as YAML scalars; raises UsageError."""
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--set takes NAME=VALUE, not '{pair}'")
        options[name] = _yaml(value, f"--set {pair}")
    return options
