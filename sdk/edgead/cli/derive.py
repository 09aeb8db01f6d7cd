"""Command-line options made of a configuration's fields, so that each is defined once."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any, TypeVar

import typer

from edgead.config.fields import Config, Field, fields_of
from edgead.config.reading import parse_yaml
from edgead.errors import UsageError

R = TypeVar("R")
NO_WORDS: Mapping[str, str] = {}


def options_of(
    config: type[Config], words: Mapping[str, str] = NO_WORDS
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command the options that a configuration's fields describe.

    The decorated function has a parameter `given`, in place of which the options stand; it gets the values that the
    command line said, by field name. `words` fill in what help texts leave open, as `{engines}`.
    """
    fields = [field for field in fields_of(config).values() if field.flag]

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(function)
        def command(ctx: typer.Context, **values: Any) -> R:
            asked = {field.name: values.pop(field.name) for field in fields}
            said = [field for field in fields if _is_said(ctx, field.name)]
            return function(given={field.name: _value(field, asked[field.name]) for field in said}, **values)

        own = list(inspect.signature(function, eval_str=True).parameters.values())
        place = [parameter.name for parameter in own].index("given")
        context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        derived = [_parameter(field, words) for field in fields]
        parameters = [context, *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own)]
        parameters[place + 1 : place + 2] = derived
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return decorate


def typer_option(field: Field, words: Mapping[str, str] = NO_WORDS, *, help: str = "", several: bool = False) -> Any:
    """A field's option for a command that has no configuration: its range is checked at once.

    Name, range, variables and, unless there is another `help`, the words are the field's. Of an option with `several`
    values no variable is read.
    """
    made = _option(field, words, several=several)
    made.callback = _in_range(field)
    made.help = help or made.help
    return made


def _option(field: Field, words: Mapping[str, str], *, several: bool = False) -> Any:
    numeric = len(field.kinds) == 1
    variables = () if several or list in field.kinds else field.option.variables  # a list would be split at spaces
    shown = f"  [default: {field.option.shown_default}]" if field.option.shown_default else ""
    text = field.help
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    made = typer.Option(
        *filter(None, (field.option.short, field.flag)),
        metavar=field.option.metavar or None,
        min=field.minimum if numeric else None,
        max=field.maximum if numeric and field.maximum is not None and field.maximum < 2**62 else None,
        envvar=variables[0] if len(variables) == 1 else list(variables) or None,
        help=f"{text}{shown}",
        show_default=not shown and field.default not in ("", None),
    )
    made.field = field  # for who wants to know which setting it is
    return made


def _in_range(field: Field) -> Callable[[Any], Any]:
    """Gives the value of an option. Typer knows no limit that a value must not reach, and lets pass what is no
    number."""

    def checked(value: Any) -> Any:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int | float) and not field.holds(one):
                raise typer.BadParameter(f"it must be {field.wanted}, not {one}")
        return value

    return checked


def finite(value: float | None) -> float | None:
    """The value of an option; typer's ranges let pass what is no number."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number")
    return value


def parse_pairs(pairs: list[str], flag: str = "--set") -> dict[str, Any]:
    """`NAME=VALUE` pairs as a mapping, values read as YAML scalars; raises UsageError."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{flag} takes NAME=VALUE, not '{pair}'")
        found[name] = parse_yaml(value, f"{flag} {pair}")
    return found


def _parameter(field: Field, words: Mapping[str, str]) -> inspect.Parameter:
    kind, default = _kind(field), field.default
    if kind == list[str] | None:
        default = None
    elif isinstance(kind, type) and issubclass(kind, Enum):
        default = kind(default)
    annotation = Annotated[kind, _option(field, words)]  # type: ignore[valid-type]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _kind(field: Field) -> Any:
    """The type that the command line reads an option as."""
    if field.choices and str in field.kinds:
        return Enum(field.name, {str(choice): choice for choice in field.choices}, type=str)
    if list in field.kinds or field.option.pairs:
        return list[str] | None
    kind = field.kinds[0] if len(field.kinds) == 1 else str
    return kind if field.default is not None else kind | None


def _is_said(ctx: typer.Context, name: str) -> bool:
    """Whether the command line has the option; variables are read by the configuration's loader."""
    origin = ctx.get_parameter_source(name)
    return origin is not None and origin.name == "COMMANDLINE"


def _value(field: Field, value: Any) -> Any:
    if field.option.pairs:
        return parse_pairs(value, field.flag)
    return value.value if isinstance(value, Enum) else value
