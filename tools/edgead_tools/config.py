"""What a build is asked to do: one typed value, filled from the command line, the environment and a YAML file."""

from __future__ import annotations

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
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


class BuildConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every option of `edgead build`, with its default. Exactly one of budget, epochs and steps is in force."""

    method: str = "stlm"
    data: str | dict[str, Any] = ""  # a folder, or anomalib's Folder keys
    out: str = ""  # the bundle; <name of the data folder>.edgead where empty
    budget: str = ""  # training time, such as 5m, 90s, 1h30m; DEFAULT_BUDGET where nothing is given
    epochs: float | None = None
    steps: int | None = None
    size: int = 256  # side of the network's square input in pixels
    seed: int = 0
    false_alarm_rate: float = 0.01
    bits: int = 16  # full scale of 16-bit images
    device: str = "cpu"
    threads: int = 0  # CPU threads of training; 0 is one per core
    weights: str = ""  # a file to take the teacher's weights from, in place of the installed package
    textures: str = ""  # a folder of texture images for pseudo-anomalies; procedural ones where empty
    options: dict[str, Any] = {}  # hyper-parameters of the method, by name

    def __post_init__(self) -> None:
        if self.size % 32 or not 64 <= self.size <= 2048:
            raise UsageError(f"size must be a multiple of 32 between 64 and 2048, not {self.size}")
        if not 0 < self.false_alarm_rate <= 0.5:
            raise UsageError(f"false_alarm_rate must lie in (0, 0.5], not {self.false_alarm_rate}")
        if self.bits not in (10, 12, 14, 16):
            raise UsageError(f"bits must be 10, 12, 14 or 16, not {self.bits}")
        limits = [name for name in ("budget", "epochs", "steps") if getattr(self, name) not in ("", None)]
        if len(limits) > 1:
            raise UsageError(f"give one of budget, epochs and steps, not {' and '.join(limits)}")
        if (self.epochs is not None and self.epochs <= 0) or (self.steps is not None and self.steps < 1):
            raise UsageError("epochs and steps must be positive")
        if self.budget:
            parse_duration(self.budget)

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
    """Seconds in a duration such as `90`, `90s`, `5m` or `1h30m`; raises UsageError."""
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
    values = _read_yaml(file)
    for name in BuildConfig.__struct_fields__:
        text = os.environ.get(f"EDGEAD_{name.upper()}")
        if text is not None:
            values[name] = yaml.safe_load(text)
    chosen = {name: value for name, value in given.items() if value is not None}
    if {"budget", "epochs", "steps"} & chosen.keys():  # the more explicit source decides when to stop
        values = {name: value for name, value in values.items() if name not in ("budget", "epochs", "steps")}
    values.update(chosen)
    for name in ("budget", "data", "out"):  # a bare number in YAML
        if isinstance(values.get(name), (int, float)):
            values[name] = str(values[name])
    config = _convert(values, f"in {file or FILE}" if file or Path(FILE).exists() else "on the command line")
    if not config.data:
        raise UsageError(f"say where the good images are: --data FOLDER, or `data: FOLDER` in {FILE}")
    return config


def _convert(values: dict[str, Any], where: str) -> BuildConfig:
    for name in values:
        if name not in BuildConfig.__struct_fields__:
            raise UsageError(f"unknown key '{name}' {where}: {nearest(str(name), BuildConfig.__struct_fields__)}")
    try:
        return msgspec.convert(values, BuildConfig, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"a value {where} cannot be used: {error}") from error


def _read_yaml(file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE)
    if file is None and not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold keys and values, such as `data: good_parts/`")
    return dict(content)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` pairs as a mapping, values read as YAML scalars; raises UsageError."""
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--set takes NAME=VALUE, not '{pair}'")
        options[name] = yaml.safe_load(value)
    return options
