"""Lists the commands, each imported when it is called: the help of all is in the table.

A command whose packages are not installed still shows, and says what to install. One whose module is broken raises
its own error, but only where it is called: a fault in the workstation's code must not stop a pipeline.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import typer
import typer.core
import typer.main

from edgead.cli.streams import discard
from edgead.errors import MissingPackageError
from edgead.registry import Lazy, is_installed


@dataclass(frozen=True, slots=True)
class Command(Lazy):
    """A command, and what `edgead --help` says of it without importing it."""

    help: str = ""  # how the command's own help begins: its first sentence
    needs: str = ""  # a package of its extra without which it does nothing

    @property
    def line(self) -> str:
        """What it does, or what to install."""
        packages = filter(None, (self.target.partition(":")[0].partition(".")[0], self.needs))
        return self.help if all(map(is_installed, packages)) else f"Not available here: {self.install}"


COMMANDS = {
    "run": Command(
        "edgead.cli.run:run",
        help="Judge frame after frame until the sources end, the limit is reached, or Ctrl-C",
    ),
    "predict": Command(
        "edgead.cli.predict:predict",
        help="Judge image files, one line each",
    ),
    "review": Command(
        "edgead.cli.review:review",
        extra="web",
        help="Review saved anomalies, borderline and random good frames in a browser: good, defect or unsure",
        needs="starlette",
    ),
    "explain": Command(
        "edgead.cli.explain:explain",
        help="Compute a recorded verdict anew from its frame and its bundle, and show every step",
    ),
    "info": Command(
        "edgead.cli.info:info",
        help="Show a bundle as a card: what it was made from, what it finds, its threshold, networks and licenses",
    ),
    "verify": Command(
        "edgead.cli.verify:verify",
        help="Check every digest, and each golden frame on this machine's engine in every precision (or the one named)",
    ),
    "bench": Command(
        "edgead.cli.bench:bench",
        help="Measure every engine and precision there is (or those named): latency by stage, throughput, memory",
    ),
    "cameras": Command(
        "edgead.cli.cameras:cameras",
        help="List this machine's cameras, whether each opens, and how to name it in `edgead run --source`",
    ),
    "doctor": Command(
        "edgead.cli.doctor:doctor",
        help="Say what this machine can do, and for everything it lacks the line that installs it",
    ),
    "plc": Command(
        "edgead.cli.plc:app",
        help="The handshake with a controller: its register map, and a simulator",
    ),
    "station": Command(
        "edgead.cli.station:app",
        help="A station's file: its cameras, trigger, controller and where results go",
    ),
    "build": Command(
        "edgead_tools.commands:build",
        extra="build",
        help="Learn what good parts look like and write one verified file, the bundle",
        needs="torch",
    ),
    "add-normals": Command(
        "edgead_calibration.commands:add_normals",
        help="Add good images to a bundle that matches objects: what they show is good from now on",
    ),
    "calibrate": Command(
        "edgead_calibration.commands:calibrate",
        help="Refit the thresholds and the camera's health profile to good parts of this site, in this light",
    ),
    "compile": Command(
        "edgead.cli.compile:compile_",
        extra="tensorrt",
        help="Build a bundle's TensorRT engines, prove them, and keep them for `edgead run`",
    ),
    "components": Command(
        "edgead_tools.commands:components",
        extra="build",
        help="Find the components of good parts and write a page that shows them, before hours of training",
        needs="torch",
    ),
    "demo": Command(
        "edgead_tools.commands:demo",
        extra="demo",
        help="The whole job on real solar-cell images in two minutes: learn, train, judge unseen cells, write a page",
        needs="elpv_dataset",
    ),
    "eval": Command(
        "edgead_tools.evaluation.command:evaluate",
        extra="build",
        help="Measure bundles on labeled images, and compare them",
    ),
    "export": Command(
        "edgead_tools.export.command:export",
        extra="quantize",
        help="Write a bundle for other runtimes: one ONNX graph from a frame to its score, or models for Triton",
        needs="onnx",
    ),
    "fleet": Command(
        "edgead.cli.fleet:fleet",
        help="Show who runs what, since when, and what is wrong: bundle, engine, rejects, drift, cameras, disk",
    ),
    "promote": Command(
        "edgead.cli.promote:promote",
        help="Put a bundle into force at a station, in one step that a power cut cannot halve",
    ),
    "publish": Command(
        "edgead.cli.updates:publish",
        extra="updates",
        help="Put a bundle into a repository of updates, for stations that pull",
        needs="tuf",
    ),
    "pull": Command(
        "edgead.cli.updates:pull",
        extra="updates",
        help="Take the newest bundle that a repository of updates has for this station",
        needs="tuf",
    ),
    "quantize": Command(
        "edgead_tools.commands:quantize",
        extra="quantize",
        help="Add networks of lower precision to a bundle, each tried beside FP32 and left out where it loses too much",
        needs="onnx",
    ),
    "rebuild": Command(
        "edgead_tools.commands:rebuild",
        extra="build",
        help="Build a bundle again with what people said of saved frames, and compare old and new",
        needs="torch",
    ),
    "rollback": Command(
        "edgead.cli.promote:rollback",
        help="Put the bundle into force again that was there before the last `edgead promote`; again: the one before",
    ),
    "serve": Command(
        "edgead.cli.serve:serve",
        extra="web",
        help="Judge frames that others send, over the Open Inference Protocol (KServe v2), which Triton speaks too",
        needs="starlette",
    ),
    "shadow": Command(
        "edgead.cli.shadow:shadow",
        help="A bundle that judges the same frames as the line, for comparison alone",
    ),
    "sign": Command(
        "edgead.cli.sign:sign",
        extra="signing",
        help="Sign a bundle with a key of yours, for stations that take no other bundles",
        needs="cryptography",
    ),
    "sweep": Command(
        "edgead_tools.commands:sweep",
        extra="build",
        help="Try methods, presets and sizes on a data set: a table, and a page with accuracy over latency",
        needs="torch",
    ),
    "threshold": Command(
        "edgead_calibration.commands:threshold",
        help="Show a bundle's thresholds, or set them: for another false-alarm rate, or to a score",
    ),
    "weights": Command(
        "edgead_tools.commands:weights",
        extra="build",
        help="Pretrained weights: what is known, what is here, how to get the rest",
        needs="torch",
    ),
}
GROUPS = {
    "Build a bundle": ("build", "demo", "sweep", "components", "weights"),
    "Judge": ("run", "predict", "eval", "bench", "serve"),
    "Look": ("info", "explain", "verify", "cameras", "plc", "station", "doctor"),
    "Prepare for a device": ("calibrate", "add-normals", "threshold", "quantize", "compile", "export"),
    "Learn from the line": ("review", "rebuild", "shadow", "promote", "rollback"),
    "Release": ("sign", "publish", "pull", "fleet"),
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
            rows = [(name, COMMANDS[name].line) for name in names if name in COMMANDS]
            if rows:
                _write_lines(formatter, title, rows)

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


class Nested(typer.core.TyperGroup):
    """The group of a command that has commands of its own."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each with the first sentence of its help, an unbroken line."""
        helps = {
            name: " ".join((command.help or "").split("\n\n")[0].split()) for name, command in self.commands.items()
        }
        _write_lines(formatter, "Commands", [(name, words.rstrip(".")) for name, words in helps.items()])


def _write_lines(formatter: Any, title: str, rows: Sequence[tuple[str, str]]) -> None:
    with formatter.section(title):
        for name, words in rows:
            formatter.write(f"{'':<{formatter.current_indent}}{name:<12}{words}\n")


def _make(name: str, entry: Command) -> Any:
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
            app.add_typer(command, name=name, cls=Nested, no_args_is_help=True, context_settings=HELP)
        else:
            summary = command.__doc__ or f"{entry.help}."  # `python -OO` keeps no docstrings
            app.command(name, help=summary, context_settings=HELP)(_explaining(name, entry, command))
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
