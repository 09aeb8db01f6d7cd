"""Describes a configuration's fields: their types, ranges and help, and how they are written outside."""

from __future__ import annotations

import functools
import math
import types
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import msgspec

from edgead.errors import UsageError

# Every number has both limits: a value beyond them ends in a sentence, not in the depths of some library.
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e6)]  # 11 days: in milliseconds it fits 32 bits
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Beat = Annotated[float, msgspec.Meta(ge=40, le=250)]  # milliseconds: a heartbeat stops within two of them
Window = Annotated[float, msgspec.Meta(ge=0, le=600_000)]  # milliseconds around a trigger: ten minutes at most
Joining = Annotated[float, msgspec.Meta(ge=0, le=200)]  # milliseconds: a controller must not take it for standstill
Batch = Annotated[int, msgspec.Meta(ge=1, le=32)]  # frames at once
Pixels = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Device = Annotated[int, msgspec.Meta(ge=0, le=9999)]  # the number of a camera or GPU
Threads = Annotated[int, msgspec.Meta(ge=0, le=1024)]  # of the CPU
Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Factor = Annotated[float, msgspec.Meta(gt=0, le=1000)]  # of the bundle's threshold, as `ops.Rules` takes it
Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Bits = Literal[10, 12, 14, 16]  # that count of a 16-bit pixel


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of a configuration. Every field has a default, and a help text by `option`."""

    prefix: ClassVar[str] = ""  # of variables of the environment, where every field has one


@dataclass(frozen=True, slots=True)
class Option:
    """How a field is written on the command line, in the environment and in YAML, beside its own name."""

    flag: str = ""  # where it is not --name; "-" where the command line has none
    short: str = ""  # a letter for it, such as -o
    metavar: str = ""
    shown_default: str = ""  # what help says is the default, where the value does not say it
    variables: tuple[str, ...] = ()  # of the environment; the first that is set counts
    alias: str = ""  # another key of YAML, for a list of one
    group: str = ""  # fields of one group exclude each other: that of the most explicit origin counts
    pairs: bool = False  # a mapping that the command line writes as NAME=VALUE, again for several
    secret: bool = False  # may hold passwords
    hint: str = ""  # how a value looks, for who gave a wrong one


def option(help: str, **how: Any) -> msgspec.Meta:
    """The description of a field, as in `Annotated[type, option("What it is.")]`; for `how` see `Option`."""
    return msgspec.Meta(description=help, extra={"option": Option(**how)})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a configuration."""

    name: str
    key: str  # in YAML
    kinds: tuple[type, ...]  # of bool, int, float, str, list and dict
    default: Any
    help: str
    option: Option
    variables: tuple[str, ...]
    choices: tuple[Any, ...]  # where these are all the values there are
    minimum: float | None
    above: float | None  # what it must exceed
    maximum: float | None
    below: float | None  # what it must stay under

    @property
    def flag(self) -> str:
        """The option of the command line; "" where it has none."""
        return {"": f"--{self.name.replace('_', '-')}", "-": ""}.get(self.option.flag, self.option.flag)

    def holds(self, value: float) -> bool:
        """Whether a number is in the field's range; what is no number is not."""
        return (
            math.isfinite(value)
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )

    @property
    def wanted(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            *others, last = map(str, self.choices)
            return f"{', '.join(others)} or {last}"
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(self.kinds[0], "")
        ranges = [
            ("of at least", self.minimum),
            ("above", self.above),
            ("of at most", self.maximum),
            ("below", self.below),
        ]
        limits = [f"{words} {limit:g}" for words, limit in ranges if limit is not None and limit < 2**62]
        return f"{kind} {' and '.join(limits)}".strip()


@functools.cache
def fields_of(config: type[Config]) -> dict[str, Field]:
    """The fields of a configuration by name, in order."""
    return {field.name: _field_of(field, config.prefix) for field in msgspec.structs.fields(config)}


def _field_of(field: msgspec.structs.FieldInfo, prefix: str) -> Field:
    metas, kinds, choices = _unwrap(field.type)
    described = next(meta for meta in metas if meta.extra)
    how: Option = (described.extra or {})["option"]
    return Field(
        name=field.name,
        key=field.encode_name,
        kinds=tuple(kinds),
        default=field.default_factory() if field.default is msgspec.NODEFAULT else field.default,
        help=described.description or "",
        option=how,
        variables=how.variables or ((f"{prefix}{field.name.upper()}",) if prefix else ()),
        choices=choices,
        minimum=next((meta.ge for meta in metas if meta.ge is not None), None),
        above=next((meta.gt for meta in metas if meta.gt is not None), None),
        maximum=next((meta.le for meta in metas if meta.le is not None), None),
        below=next((meta.lt for meta in metas if meta.lt is not None), None),
    )


def _unwrap(hint: Any) -> tuple[list[msgspec.Meta], list[type], tuple[Any, ...]]:
    """The descriptions in a type, the plain types it is made of, and the values it allows where these are all."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        metas, kinds, choices = _unwrap(arguments[0])
        return [*(meta for meta in hint.__metadata__ if isinstance(meta, msgspec.Meta)), *metas], kinds, choices
    if origin in (Union, types.UnionType):
        parts = [_unwrap(part) for part in arguments if part is not types.NoneType]
        metas = [meta for part in parts for meta in part[0]]
        return metas, [kind for part in parts for kind in part[1]], parts[0][2] if len(parts) == 1 else ()
    if origin is Literal:
        return [], [type(arguments[0])], arguments
    return [], [origin or hint], ()


def exclusive(**given: object) -> None:
    """Raise UsageError where more than one of these is given: is neither None nor empty."""
    said = [name for name, value in given.items() if value not in (None, "", [], {})]
    if len(said) > 1:
        *others, last = given
        raise UsageError(f"give one of {', '.join(others)} and {last}, not {' and '.join(said)}")
