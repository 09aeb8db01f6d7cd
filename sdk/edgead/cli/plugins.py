"""Mounting the other rooms' commands, which announce themselves by entry points (group "edgead.commands").

A room that is not installed, or that lacks one of its packages, still shows its commands and says what to
install. A room that is broken raises its own error, but only where its command is called: a fault in the
workstation's code must not stop the line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

import typer

from edgead.errors import UsageError

GROUP = "edgead.commands"
PACKAGES = ("edgead", "edgead_calibration", "edgead_tools")
INSTALL = {  # of the others: edgead[build]
    "calibrate": "edgead",
    "compile": "edgead[tensorrt]",
    "demo": "edgead[demo]",
    "quantize": "edgead[quantize]",
    "threshold": "edgead",
}


def mount(app: typer.Typer, reserved: Iterable[str] = (), found: Iterable[EntryPoint] | None = None) -> None:
    """Add a command for every entry point in `found` (those installed, where None) whose name is not reserved."""
    points = entry_points(group=GROUP) if found is None else found
    for name, point in sorted({point.name: point for point in points}.items()):
        if name not in reserved:
            _add(app, name, point)


def missing_package(error: ModuleNotFoundError) -> str | None:
    """The package that is to be installed, or None where the error is a fault in an installed edgead package."""
    root = (error.name or "").partition(".")[0]
    if not root or (root in PACKAGES and find_spec(root) is not None):
        return None
    return root


def _add(app: typer.Typer, name: str, point: EntryPoint) -> None:
    install = f"pip install '{_requirement(name, point)}'"
    try:
        command = point.load()
    except Exception as error:
        missing = missing_package(error) if isinstance(error, ModuleNotFoundError) else None
        summary = f"Not available here: {install}" if missing else f"Cannot be loaded: {type(error).__name__}: {error}"
        options = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
        app.command(name, help=summary, context_settings=options)(_stub(name, install, error, missing))
        return
    if isinstance(command, typer.Typer):  # a command with commands of its own
        app.add_typer(command, name=name, no_args_is_help=True)
    else:
        app.command(name)(_explaining(name, install, command))


def _requirement(name: str, point: EntryPoint) -> str:
    if point.value.partition(".")[0] in PACKAGES:
        return INSTALL.get(name, "edgead[build]")
    return point.dist.name if point.dist is not None else point.value.partition(".")[0]


def _stub(name: str, install: str, error: Exception, missing: str | None) -> Callable[[], None]:
    def command() -> None:
        if missing is None:
            raise error
        raise UsageError(f"`edgead {name}` needs the package {missing}: {install}") from error

    return command


def _explaining(name: str, install: str, command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, with a heavy package that turns out to be missing while it runs put into words."""

    @functools.wraps(command)
    def explained(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except ModuleNotFoundError as error:
            missing = missing_package(error)
            if missing is None:
                raise
            raise UsageError(f"`edgead {name}` needs the package {missing}: {install}") from error

    return explained
