"""Reads a sink from one string: 'keep:saved?quota=10GB&days=30' is a kind, a place and options.

A sink's options are the parameters of its class beyond the first, which is the place. Their annotations say how
each is read: `bool`, `int`, `float`, `str`, `Path`, or Annotated with a function from text that raises a ValueError
saying what it wants.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from edgead.errors import UsageError, nearest
from edgead.types import Verdict

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_LARGEST_SIZE = 10**15
_SWITCHES = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


def split_spec(spec: str, separators: Mapping[str, str], role: str = "sink") -> tuple[str, str, dict[str, str]]:
    """The kind (a key of `separators`), the place and the options of a spec; the place of a URL is the whole URL.

    `separators` gives for each kind the sign that begins its options; `role` is what a kind is one of, in messages.
    Raises UsageError.
    """
    kind, colon, place = spec.partition(":")
    kind = kind.lower()
    if kind not in separators:
        shown = kind if colon else spec
        raise UsageError(f"'{shown}' is no kind of {role}: {nearest(shown, separators)}")
    place, _, query = place.partition(separators[kind])
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"the {role} '{kind}' has the option '{name}' without a value: write {name}=VALUE")
        if name in options:
            raise UsageError(f"the {role} '{kind}' has the option '{name}' twice")
        options[name] = unquote(value)
    return kind, f"{kind}:{place}" if place.startswith("//") else place, options


def read_call(
    make: Callable[..., Any], kind: str, place: str, options: Mapping[str, str], example: str, role: str = "sink"
) -> Any:
    """Call `make` with the place and the options, each read as its parameter wants it; raises UsageError."""
    parameters = inspect.signature(make).parameters
    first, *others = parameters
    hints = get_type_hints(make if inspect.isfunction(make) else make.__init__, include_extras=True)
    arguments = {}
    if place:
        arguments[first] = _read(hints[first], place, f"the {role} '{kind}': its place")
    elif parameters[first].default is inspect.Parameter.empty:
        raise UsageError(f"the {role} '{kind}' needs a place, like {example}")
    for name, text in options.items():
        if name not in others:
            known = nearest(name, others) if others else "it has none"
            raise UsageError(f"the {role} '{kind}' has no option '{name}': {known}")
        arguments[name] = _read(hints[name], text, f"the {role} '{kind}': {name}")
    return make(**arguments)


def size(text: str) -> int:
    """A number of bytes: '10GB' is 10 000 000 000, '10GiB' 1024 ** 3 times ten."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError("a size like 500MB or 10GB")
    number = float(match[1]) * _UNITS[match[2]]
    if number > _LARGEST_SIZE:
        raise ValueError("a size below 1000 TB")
    return int(number)


def verdicts(text: str) -> frozenset[Verdict]:
    """'NG,REVIEW', or 'all'."""
    names = [name.strip().upper() for name in text.split(",")]
    if names == ["ALL"]:
        return frozenset(Verdict)
    try:
        return frozenset(Verdict(name) for name in names)
    except ValueError:
        raise ValueError(f"'all' or some of {','.join(Verdict)}, with commas between") from None


def checked(what: str, number: float, low: float, high: float) -> float:
    """The number, where it lies between the two; raises UsageError."""
    if not low <= number <= high:
        raise UsageError(f"{what} must be from {low:g} to {high:g}, not {number:g}")
    return number


Size = Annotated[int, size]
Verdicts = Annotated[frozenset[Verdict], verdicts]


def _switch(text: str) -> bool:
    if text.lower() not in _SWITCHES:
        raise ValueError("yes or no")
    return _SWITCHES[text.lower()]


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("a number")
    return number


_READERS: dict[Any, Callable[[str], Any]] = {bool: _switch, int: _whole, float: _number, str: str, Path: Path}


def _read(hint: Any, text: str, what: str) -> Any:
    if get_origin(hint) is Annotated:
        read = hint.__metadata__[0]
    else:
        read = _READERS[next((kind for kind in get_args(hint) if kind is not NoneType), hint)]
    try:
        return read(text)
    except ValueError as error:
        raise UsageError(f"{what} must be {error}, not '{text}'") from error
