"""What several commands share: their options, a YAML file of options, and text that is safe to print."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from edgead.engines import ENGINES
from edgead.errors import UsageError, nearest


class Precision(str, Enum):
    """What a network runs in; `auto` is the bundle's best."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="An .edgead file.", show_default=False)]
EngineName = Annotated[
    str, typer.Option("--engine", envvar="EDGEAD_ENGINE", help=f"What runs the network: auto, {', '.join(ENGINES)}.")
]
PrecisionName = Annotated[
    Precision, typer.Option("--precision", envvar="EDGEAD_PRECISION", help="What the network runs in.")
]
Threads = Annotated[
    int,
    typer.Option("--threads", envvar="EDGEAD_THREADS", min=0, max=1024, help="CPU threads; 0: the engine's choice."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")]


def read_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a YAML file of option names: below the command line and the environment."""
    if path is None:
        return None
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if loaded is not None and not isinstance(loaded, dict):
        raise UsageError(f"{path} must hold lines like 'source: camera:0', not a {type(loaded).__name__}")
    ctx.default_map = {**(ctx.default_map or {}), **_checked(ctx, path, loaded or {})}
    return path


def _checked(ctx: typer.Context, path: Path, given: dict[Any, Any]) -> dict[str, Any]:
    """The file's values by parameter name; keys are the options without their dashes."""
    known = {option.lstrip("-"): p.name for p in ctx.command.params for option in p.opts if option.startswith("--")}
    defaults = {}
    for key, value in given.items():
        if key not in known or key in ("config", "help"):
            raise UsageError(f"{path} has an unknown option '{key}': {nearest(str(key), known)}")
        if isinstance(value, (dict, list)) or value is None:
            raise UsageError(f"{path}: '{key}' needs one value, not {value!r}")
        defaults[str(known[key])] = value
    return defaults


def shown(text: object) -> str:
    """`text` for a terminal: what cannot be printed (control characters, undecodable bytes) is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
