"""Commands of the table: loaded when they are called, missing or broken."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgead.cli.app import make_app
from edgead.cli.commands import COMMANDS, Command, _make
from edgead.errors import UsageError

MODULE = """
import typer
from typing import Annotated

def greet(name: str, loud: Annotated[bool, typer.Option("--loud")] = False) -> None:
    "Say hello."
    print(f"hello {name}{'!' if loud else ''}")

def heavy(count: int = 1) -> None:
    "Needs something big."
    import surely_absent.deep

def fault() -> None:
    "Has a fault."
    import edgead.surely_absent
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module with commands in it."""
    (tmp_path / "some_module.py").write_text(MODULE)
    (tmp_path / "needy_module.py").write_text("import surely_absent")
    (tmp_path / "other_module.py").write_text("raise ImportError('libbig.so.3: no such file', name='other_module')")
    (tmp_path / "broken_module.py").write_text("from edgead import nothing_like_it")
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_module"
    for name in ("some_module", "needy_module", "other_module", "broken_module"):
        sys.modules.pop(name, None)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the app with such a table; gives what it printed."""

    def run(table: dict[str, str], *arguments: str, extra: str = "build") -> str:
        entries = {name: Command(target, extra=extra, help="Do it") for name, target in table.items()}
        monkeypatch.setattr("edgead.cli.commands.COMMANDS", entries)
        with pytest.raises(SystemExit) as left:
            make_app()(list(arguments))
        assert left.value.code == 0
        return capsys.readouterr().out

    return run


def test_another_packages_command_keeps_its_arguments(module: str, call: Callable[..., str]) -> None:
    points = {"greet": f"{module}:greet"}
    assert call(points, "greet", "you", "--loud") == "hello you!\n"
    assert "  greet       Do it\n" in call(points, "--help")
    assert "Say hello" in call(points, "greet", "--help")
    assert "--loud" in call(points, "greet", "--help")


@pytest.mark.parametrize(
    ("name", "value", "arguments", "match"),
    [
        ("build", "edgead_absent_module.commands:build", ["build", "good/", "--epochs", "3"], r"edgead_absent_module"),
        (
            "build",
            "needy_module:build",
            ["build", "--help"],
            "`edgead build` needs the package surely_absent: pip install",
        ),
        ("heavy", "some_module:heavy", ["heavy", "--count", "2"], "needs the package surely_absent: pip install"),
    ],
)
@pytest.mark.usefixtures("module")
def test_what_is_missing_is_named(
    name: str, value: str, arguments: list[str], match: str, call: Callable[..., str]
) -> None:
    assert f"\n  {name} " in call({name: value}, "--help")
    with pytest.raises(UsageError, match=match) as caught:
        call({name: value}, *arguments)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("extra", ["build", "demo", ""])
def test_the_installing_line_fits_the_command(extra: str, call: Callable[..., str]) -> None:
    install = f"pip install 'edgead[{extra}]'" if extra else "pip install edgead"
    assert f"Not available here: {install}" in call({"build": "edgead_absent.commands:run"}, "--help", extra=extra)
    with pytest.raises(UsageError, match=re.escape(install)):
        call({"build": "edgead_absent.commands:run"}, "build", extra=extra)


@pytest.mark.usefixtures("module")
def test_a_package_that_does_not_load_is_named(call: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match=r"needs the package other_module, which does not work here: libbig\.so\.3"):
        call({"greet": "other_module:greet"}, "greet")


@pytest.mark.usefixtures("module")
def test_a_broken_module_stops_its_own_command_alone(call: Callable[..., str]) -> None:
    points = {"bad": "broken_module:bad", "fault": "some_module:fault", "greet": "some_module:greet"}
    assert "Do it" in call(points, "--help")
    assert call(points, "greet", "you") == "hello you\n"
    with pytest.raises(ImportError, match="nothing_like_it"):
        call(points, "bad")
    with pytest.raises(ModuleNotFoundError, match="surely_absent"):
        call(points, "fault")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_all_says_what_each_commands_own_help_begins_with(name: str) -> None:
    text = " ".join((_make(name, COMMANDS[name]).help or "").split("\n\n")[0].split())
    assert text.split(". ")[0].rstrip(".") == COMMANDS[name].help


def every_command() -> Iterator[tuple[str, Any]]:
    """The commands with their full names, those of a command of commands too."""
    for name, entry in COMMANDS.items():
        made = _make(name, entry)
        inner = getattr(made, "commands", None)
        yield from {f"{name} {one}": command for one, command in inner.items()}.items() if inner else [(name, made)]


def test_every_help_shows_examples_that_are_understood() -> None:
    for name, command in every_command():
        examples = re.findall(rf"^ *edgead {name}\b(.*)$", command.help or "", re.MULTILINE)
        assert examples, name
        for example in examples:
            words = shlex.split(example.split("|")[0], comments=True)
            command.make_context(name, words)  # raises where an option or a value is none


def test_commands_of_a_command_are_not_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_app()(["station", "--help"])
    shown = capsys.readouterr().out
    assert "..." not in shown.partition("Commands:")[2]
    assert (
        "  init        Write a commented station.yaml by ten questions; what an option says already is not asked"
        in shown
    )


@pytest.mark.parametrize(("words", "found"), [("edgead ru", "run"), ("edgead run --jud", "--judge")])
def test_a_shell_completes_commands_and_options(words: str, found: str) -> None:
    """As the script of `edgead --install-completion` asks."""
    asked = {"_EDGEAD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    program = "import edgead.cli; edgead.cli.main([])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | asked
    )
    assert done.stdout.split() == [found]


def test_a_command_whose_package_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    here = COMMANDS["build"]
    assert here.line == here.help
    monkeypatch.setattr("edgead.cli.commands.is_installed", lambda package: package != here.needs)
    assert here.line == "Not available here: pip install 'edgead[build]'"


def test_the_help_of_all_imports_nothing_heavy() -> None:
    program = (
        "import sys, edgead.cli\n"
        "try: edgead.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "known = {one.target.partition(':')[0] for one in edgead.cli.commands.COMMANDS.values()}\n"
        "print([name for name in (*known, 'cv2', 'numpy', 'msgspec', 'rich', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_says_what_a_command_does_without_docstrings() -> None:
    for words in (["--help"], ["run", "--help"]):
        command = [sys.executable, "-OO", "-m", "edgead", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "Judge frame after frame until the sources end" in " ".join(done.stdout.split())
