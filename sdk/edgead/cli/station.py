"""station.yaml: a station in one file. Its keys are the options of `edgead run`, with cameras and sinks as lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import typer
import yaml

from edgead.errors import UsageError, nearest

# A key of the file, and the option that each of its entries is.
LISTS = {"cameras": "source", "sinks": "sink", "judge": "judge", "ignore": "ignore"}


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """What of a station is more than one value."""

    cameras: dict[str, str] = {}  # name: source
    sinks: list[str] = []  # kind:place
    judge: list[str] = []  # [camera=]area
    ignore: list[str] = []  # [camera=]area


def read_station(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a station's file: below the command line and the environment. Raises UsageError."""
    if path is None:
        return None
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML: {_place(error)}") from error
    if loaded is not None and not isinstance(loaded, dict):
        raise UsageError(f"{path} must hold lines like 'source: camera:0', not a {type(loaded).__name__}")
    ctx.default_map = {**(ctx.default_map or {}), **_defaults(ctx, path, loaded or {})}
    return path


def _place(error: Exception) -> str:
    """What is wrong and where, without the text that stands there: it may be a password."""
    mark = getattr(error, "problem_mark", None)
    words = getattr(error, "problem", None) or type(error).__name__
    return f"{words} (line {mark.line + 1})" if mark is not None else str(words)


def _defaults(ctx: typer.Context, path: Path, given: dict[Any, Any]) -> dict[str, Any]:
    """The file's values by parameter name; keys are the options without their dashes."""
    known = {option.lstrip("-"): p.name for p in ctx.command.params for option in p.opts if option.startswith("--")}
    for own in ("config", "station", "help"):
        known.pop(own, None)
    defaults: dict[str, Any] = {}
    for key, value in given.items():
        if key in LISTS:
            continue
        if key not in known:
            raise UsageError(f"{path} has an unknown option '{key}': {nearest(str(key), [*known, *LISTS])}")
        if isinstance(value, (dict, list)) or value is None:
            raise UsageError(f"{path}: '{key}' needs one value")
        defaults[str(known[key])] = [str(value)] if known[key] in LISTS.values() else value
    return defaults | _lists(path, given, defaults)


def _lists(path: Path, given: dict[Any, Any], defaults: dict[str, Any]) -> dict[str, list[str]]:
    """The cameras and sinks of the file as values of the options that each of them is."""
    try:
        lists = msgspec.convert({key: value for key, value in given.items() if key in LISTS}, Lists)
    except msgspec.ValidationError as error:
        words = "cameras are lines like 'left: rtsp://camera.local/1', sinks a list like '- jsonl:results.jsonl'"
        raise UsageError(f"{path}: {error}; {words}") from None
    found = {
        "source": [f"{name}={source}" for name, source in lists.cameras.items()],
        "sink": lists.sinks,
        "judge": lists.judge,
        "ignore": lists.ignore,
    }
    for key, option in LISTS.items():
        if key in given and option in defaults:
            raise UsageError(f"{path} has '{key}' and '{option}': give one of them")
    return {option: values for option, values in found.items() if values}
