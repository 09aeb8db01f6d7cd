"""Lists the commands, each imported when it is called or when the help is shown.

A command whose packages are not installed still shows, and says what to install. One whose module is broken raises
its own error, but only where it is called: a fault in the workstation's code must not stop a pipeline.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import typer
import typer.core
import typer.main

from edgead.cli.streams import discard
from edgead.errors import MissingPackageError
from edgead.registry import Lazy

COMMANDS = {
    "run": Lazy("edgead.cli.run:run"),
    "predict": Lazy("edgead.cli.predict:predict"),
    "review": Lazy("edgead.cli.review:review", extra="web"),
    "info": Lazy("edgead.cli.info:info"),
    "verify": Lazy("edgead.cli.verify:verify"),
    "bench": Lazy("edgead.cli.bench:bench"),
    "cameras": Lazy("edgead.cli.cameras:cameras"),
    "doctor": Lazy("edgead.cli.doctor:doctor"),
    "build": Lazy("edgead_tools.commands:build", extra="build"),
    "calibrate": Lazy("edgead_calibration.commands:calibrate"),
    "compile": Lazy("edgead.cli.compile:compile_", extra="tensorrt"),
    "components": Lazy("edgead_tools.commands:components", extra="build"),
    "demo": Lazy("edgead_tools.commands:demo", extra="demo"),
    "eval": Lazy("edgead_tools.commands:evaluate", extra="build"),
    "export": Lazy("edgead_tools.commands:export", extra="quantize"),
    "publish": Lazy("edgead.cli.updates:publish", extra="updates"),
    "pull": Lazy("edgead.cli.updates:pull", extra="updates"),
    "quantize": Lazy("edgead_tools.commands:quantize", extra="quantize"),
    "sign": Lazy("edgead.cli.sign:sign", extra="signing"),
    "sweep": Lazy("edgead_tools.commands:sweep", extra="build"),
    "threshold": Lazy("edgead_calibration.commands:threshold"),
    "weights": Lazy("edgead_tools.commands:weights", extra="build"),
}
GROUPS = {
    "Build a bundle": ("build", "demo", "sweep", "components", "weights"),
    "Judge": ("run", "predict", "eval", "bench"),
    "Look": ("info", "verify", "cameras", "doctor"),
    "Prepare for a device": ("calibrate", "threshold", "quantize", "compile", "export"),
    "Release": ("sign", "publish", "pull"),
}
HELP = {"help_option_names": ["-h", "--help"]}
_ANYTHING: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class Commands(typer.core.TyperGroup):
    """The group of the commands; Ctrl-C leaves with 130 in every version of typer."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = dict.fromkeys(COMMANDS)  # the names, to suggest one; `get_command` makes the commands

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands by what they are for, an unbroken line each."""
        others = tuple(name for name in COMMANDS if not any(name in names for names in GROUPS.values()))
        for title, names in {**GROUPS, "More": others}.items():
            rows = [(name, first_sentence(self.get_command(ctx, name))) for name in names if name in COMMANDS]
            if rows:
                with formatter.section(title):
                    for name, words in rows:
                        formatter.write(f"{'':<{formatter.current_indent}}{name:<11}{words}\n")

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _make(cmd_name, COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `| head` has seen enough; typer would call it an error
            if sys.stdout is not None:
                discard(sys.stdout)
            raise typer.Exit(0) from None
        except KeyboardInterrupt as interrupt:
            if interrupt.args:  # what was saved, and how to go on
                typer.echo(f"edgead: {interrupt}", err=True)
            raise typer.Exit(130) from None


def first_sentence(command: Any) -> str:
    """What a command does, as its help begins, without the full stop."""
    text = " ".join((command.help or "").split("\n\n")[0].split())
    return text.split(". ")[0].rstrip(".")


def _make(name: str, entry: Lazy) -> Any:
    """The command as typer's group has it."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    try:
        command = entry.load(f"`edgead {name}`")
    except Exception as error:
        absent = isinstance(error, MissingPackageError)
        summary = f"Not available here: {entry.install}" if absent else f"Cannot be loaded: {error}"
        app.command(name, help=summary, context_settings=_ANYTHING)(_raising(error))
    else:
        if isinstance(command, typer.Typer):  # a command with commands of its own
            app.add_typer(command, name=name, no_args_is_help=True, context_settings=HELP)
        else:
            app.command(name, context_settings=HELP)(_explaining(name, entry, command))
    return typer.main.get_group(app).commands[name]


def _raising(error: Exception) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


def _explaining(name: str, entry: Lazy, command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, with a heavy package that turns out to be missing while it runs put into words."""

    @functools.wraps(command)
    def explained(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except ImportError as error:
            said = entry.explained(error, f"`edgead {name}`")
            if said is None:
                raise
            raise said from error

    return explained
