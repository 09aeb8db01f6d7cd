"""Loads every configuration: command line over environment over YAML over bundle over default.

It keeps where each value came from, and an error names the place to mend.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from edgead.config.fields import Config, Field, fields_of
from edgead.config.reading import parse_yaml, read_yaml
from edgead.errors import EdgeadError, UsageError, nearest

DEFAULT = "default"
COMMAND_LINE = "the command line"
BUNDLE = "the bundle"

C = TypeVar("C", bound=Config)


@dataclass(frozen=True, slots=True)
class Layer:
    """What one origin says: values by field name, and in which words each is found again."""

    origin: str
    values: Mapping[str, Any]
    places: Mapping[str, str]  # field -> "EDGEAD_POLICY", say; the origin where there is none


@dataclass(frozen=True, slots=True)
class Resolved(Generic[C]):
    """A configuration, and where each of its values came from."""

    config: C
    origins: Mapping[str, str]  # field -> "default", "the command line", a variable's or a file's name ...

    def below(self, origin: str, values: Mapping[str, Any]) -> Resolved[C]:
        """The same with what a weaker origin has to say, which counts where nothing else said anything."""
        used = {name: value for name, value in values.items() if self.origins[name] == DEFAULT}
        changed = msgspec.structs.replace(self.config, **used)
        return replace(self, config=changed, origins={**self.origins, **dict.fromkeys(used, origin)})


def resolve(config: type[C], layers: Sequence[Layer]) -> Resolved[C]:
    """The configuration that `layers`, the weakest first, add up to.

    Of fields that exclude each other those of the strongest layer count that has one. Raises UsageError, with the
    place, for a value that cannot be used.
    """
    fields = fields_of(config)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(fields, DEFAULT)
    for layer in layers:
        for name, value in layer.values.items():
            _check(config, fields[name], value, layer.places.get(name, layer.origin))
        _convert(config, layer.values, layer.origin)
        groups = {fields[name].option.group for name in layer.values} - {""}
        for name in [name for name in values if fields[name].option.group in groups]:
            del values[name]
            origins[name] = DEFAULT
        values |= layer.values
        origins |= {name: layer.places.get(name, layer.origin) for name in layer.values}
    return Resolved(_convert(config, values, "these settings"), origins)


def given(config: type[Config], values: Mapping[str, Any], origin: str = COMMAND_LINE) -> Layer:
    """What the command line or a caller says; None where it is silent."""
    fields = fields_of(config)
    return Layer(origin, {name: _builtin(fields[name], v) for name, v in values.items() if v is not None}, {})


def from_environment(config: type[Config], environment: Mapping[str, str] | None = None) -> Layer:
    """What variables say; an empty one says nothing. A value is text, but for mappings, which are YAML."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for field in fields_of(config).values():
        for variable in filter(environment.get, field.variables):
            text = environment[variable]
            is_mapping = dict in field.kinds and (len(field.kinds) == 1 or text.lstrip().startswith("{"))
            one: Any = [text] if field.kinds == (list,) else text
            values[field.name] = parse_yaml(text, variable) if is_mapping else one
            places[field.name] = variable
            break
    return Layer("the environment", values, places)


def from_yaml(config: type[Config], path: Path) -> Layer:
    """What a file says; a key without a value says nothing. Raises UsageError."""
    fields = fields_of(config)
    known = {field.name: field for field in fields.values()} | {field.key: field for field in fields.values()}
    aliases = {field.option.alias: field for field in fields.values() if field.option.alias}
    values: dict[str, Any] = {}
    for key, value in read_yaml(path).items():
        field = known.get(key) or aliases.get(key)
        if field is None:
            keys = [*(field.key for field in fields.values()), *aliases]
            raise UsageError(f"{path} has an unknown key '{key}': {nearest(key, keys)}")
        if field.name in values:
            raise UsageError(f"{path} has '{key}' and another key for the same: give one of them")
        if value is not None:
            values[field.name] = [_builtin(field, value)] if key in aliases else _builtin(field, value)
    return Layer(str(path), values, {})


def validated(config: C) -> C:
    """A configuration that was made in Python, with every value of its type and in its range; raises UsageError."""
    kind = type(config)
    return _convert(
        kind, {name: _builtin(field, getattr(config, name)) for name, field in fields_of(kind).items()}, "it"
    )


def _builtin(field: Field, value: Any) -> Any:
    """A value as the struct wants it: a path, or a number where a text is wanted, as text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if str in field.kinds and type(value) in (int, float):
        return str(value)
    return value


def _check(config: type[Config], field: Field, value: Any, place: str) -> None:
    """Raise UsageError where a value alone cannot be used."""
    what = f"'{field.key}' in {place}"
    if isinstance(value, (list, dict)) or {list, dict} & set(field.kinds):  # what is in it counts
        _convert(config, {field.name: value}, what, field.option.hint)
        return
    try:
        msgspec.convert({field.key: value}, config, strict=False)
    except (msgspec.ValidationError, EdgeadError) as error:
        causes = [one for one in (error, error.__cause__) if isinstance(one, EdgeadError)]
        words = str(causes[0]) if causes else f"it must be {field.option.hint or field.wanted}, not '{value}'"
        raise UsageError(f"{what} cannot be used: {words}") from None


def _convert(config: type[C], values: Mapping[str, Any], what: str, hint: str = "") -> C:
    """The configuration of these values; raises UsageError that begins with `what`."""
    fields = fields_of(config)
    try:
        return msgspec.convert({fields[name].key: value for name, value in values.items()}, config, strict=False)
    except (msgspec.ValidationError, EdgeadError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, EdgeadError) else error
        raise UsageError(f"{what} cannot be used: {cause}{'; ' + hint if hint else ''}") from None
