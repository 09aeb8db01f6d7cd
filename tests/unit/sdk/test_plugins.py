"""Commands of other rooms: mounted, missing or broken."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer

from edgead.cli.plugins import GROUP, mount
from edgead.errors import UsageError

ROOM = """
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
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module with commands in it."""
    (tmp_path / "some_room.py").write_text(ROOM)
    (tmp_path / "needy_room.py").write_text("import surely_absent")
    (tmp_path / "broken_room.py").write_text("from edgead import nothing_like_it")
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_room"
    for name in ("some_room", "needy_room", "broken_room"):
        sys.modules.pop(name, None)


def call(capsys: pytest.CaptureFixture[str], points: dict[str, str], *arguments: str) -> str:
    """Run an app with those entry points (and one command of its own); gives what it printed."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.command("own")(lambda: print("own"))
    mount(app, {"own"}, [EntryPoint(name, value, GROUP) for name, value in points.items()])
    with pytest.raises(SystemExit) as left:
        app(list(arguments))
    assert left.value.code == 0
    return capsys.readouterr().out


def test_a_rooms_command_keeps_its_arguments(room: str, capsys: pytest.CaptureFixture[str]) -> None:
    points = {"greet": f"{room}:greet"}
    assert call(capsys, points, "greet", "you", "--loud") == "hello you!\n"
    assert "Say hello." in call(capsys, points, "--help")
    assert "--loud" in call(capsys, points, "greet", "--help")


def test_an_own_command_cannot_be_replaced(room: str, capsys: pytest.CaptureFixture[str]) -> None:
    points = {"own": f"{room}:greet", "greet": f"{room}:greet"}
    assert call(capsys, points, "own") == "own\n"


@pytest.mark.parametrize(
    ("name", "value", "arguments", "match"),
    [
        ("build", "edgead_absent_room.commands:build", ["build", "good/", "--epochs", "3"], r"edgead_absent_room"),
        (
            "build",
            "needy_room:build",
            ["build", "--help"],
            "`edgead build` needs the package surely_absent: pip install",
        ),
        ("heavy", "some_room:heavy", ["heavy", "--count", "2"], "needs the package surely_absent: pip install"),
    ],
)
@pytest.mark.usefixtures("room")
def test_what_is_missing_is_named(
    name: str, value: str, arguments: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"\n  {name} " in call(capsys, {name: value}, "--help")
    with pytest.raises(UsageError, match=match) as caught:
        call(capsys, {name: value}, *arguments)
    assert caught.value.exit_code == 2


def test_the_installing_line_fits_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgead.cli.plugins.PACKAGES", ("edgead", "edgead_absent"))
    extras = {"build": "edgead[build]", "quantize": "edgead[quantize]", "demo": "edgead[demo]", "calibrate": "edgead"}
    for name, install in extras.items():
        with pytest.raises(UsageError, match=r"pip install '{}'".format(install.replace("[", r"\["))):
            call(capsys, {name: "edgead_absent.commands:run"}, name)


@pytest.mark.usefixtures("room")
def test_a_broken_room_stops_its_own_command_alone(capsys: pytest.CaptureFixture[str]) -> None:
    points = {"bad": "broken_room:bad", "fault": "some_room:fault", "greet": "some_room:greet"}
    assert "Cannot be loaded: ImportError" in call(capsys, points, "--help")
    assert call(capsys, points, "greet", "you") == "hello you\n"
    with pytest.raises(ImportError, match="nothing_like_it"):
        call(capsys, points, "bad")
    with pytest.raises(ModuleNotFoundError, match="surely_absent"):
        call(capsys, points, "fault")
