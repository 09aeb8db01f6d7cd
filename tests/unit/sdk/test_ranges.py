"""Every number has a range and every address is parsed before anything starts; nothing ends in an overflow."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.models import OptionInfo

from edgead.cli.commands import COMMANDS
from edgead.config import BuildConfig, StationConfig
from edgead.config.fields import fields_of
from edgead.errors import UsageError
from edgead.stream.sources import check_source

Output = tuple[int, str, str]
Command = Callable[..., Output]


def numbers(function: Callable[..., Any]) -> Iterator[tuple[str, OptionInfo]]:
    """The options of a command that are numbers."""
    derived = getattr(function, "__signature__", None)
    hints = {} if derived else typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name, parameter.annotation)
        if typing.get_origin(hint) is Annotated and isinstance(hint.__metadata__[-1], OptionInfo):
            kinds = {hint.__origin__, *typing.get_args(hint.__origin__)}
            if kinds & {int, float}:
                yield name, hint.__metadata__[-1]


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, entry in COMMANDS.items():
        command = entry.load(name)
        if isinstance(command, typer.Typer):
            yield from ((f"{name} {one.name}", one.callback) for one in command.registered_commands if one.callback)
        else:
            yield name, command


def test_every_number_of_the_command_line_has_a_range() -> None:
    derived = {name for config in (StationConfig, BuildConfig) for name in fields_of(config)}  # these are tested below
    open_ended = [
        f"{command}: {name}"
        for command, function in functions()
        for name, option in numbers(function)
        if (option.min is None or option.max is None) and name not in derived
    ]
    assert open_ended == []


@pytest.mark.parametrize("config", [StationConfig, BuildConfig])
def test_every_number_of_a_configuration_has_a_range(config: Any) -> None:
    for name, field in fields_of(config).items():
        if set(field.kinds) & {int, float} and str not in field.kinds and not field.choices:  # of a text: by its parser
            assert field.minimum is not None or field.above is not None, name
            assert field.maximum is not None or field.below is not None, name


WRONG = [
    ("run", "--timeout", "inf"),
    ("run", "--timeout", "nan"),
    ("run", "--timeout", "1e300"),
    ("run", "--give-up", "inf"),
    ("run", "--deadline", "inf"),
    ("run", "--deadline", "-1"),
    ("run", "--threshold", "1e308"),
    ("run", "--threshold", "nan"),
    ("run", "--min-area", "inf"),
    ("run", "--frozen", "inf"),
    ("run", "--threads", "-5"),
    ("run", "--threads", "99999999999"),
    ("run", "--limit", "0"),
    ("run", "--limit", "1000000000000"),
    ("run", "--camera", "99999999999"),
    ("run", "--vote", "-1"),
    ("run", "--source", "camera:99999999999"),
    ("run", "--source", "99999999999"),
    ("run", "--source", "http://[::1/x"),
    ("run", "--source", "http://camera:99999/x"),
    ("run", "--source", "http://camera:0x/x"),
    ("run", "--source", "http:///x"),
    ("run", "--source", "http://a..b/x"),
    ("run", "--source", "rtsp://[::1/x"),
    ("run", "--source", "left=rtsp://camera:99999/x"),
    ("run", "--sink", "http://[::1/x"),
    ("run", "--sink", "http://mes:99999/x"),
    ("run", "--sink", "mqtt://broker/x?keepalive=-1"),
    ("run", "--sink", "mqtt://broker/x?keepalive=99999999999"),
    ("run", "--sink", "mqtt://[::1/x"),
    ("run", "--sink", "mqtt://a..b/x"),
    ("run", "--sink", "mqtt://broker/x?sync=inf"),
    ("run", "--sink", "mqtt://broker/x?sync=-1"),
    ("run", "--sink", "http://mes/x#sync=-1"),
    ("run", "--sink", "http://mes/x#timeout=inf"),
    ("run", "--sink", "keep:kept?days=nan"),
    ("run", "--sink", "keep:kept?quota=99999999999999999TB"),
    ("run", "--sink", "video:seen.mp4?segment=1e300"),
    ("run", "--sink", "metrics:99999"),
    ("run", "--sink", "web:8080?fps=inf"),
    ("bench", "--seconds", "inf"),
    ("bench", "--seconds", "nan"),
    ("bench", "--runs", "99999999999"),
    ("bench", "--threads", "-5"),
    ("predict", "--threads", "-5"),
    ("calibrate", "--false-alarm-rate", "nan"),
    ("calibrate", "--images", "99999999999"),
    ("threshold", "--false-alarm-rate", "inf"),
    ("build", "--epochs", "inf"),
    ("build", "--epochs", "nan"),
    ("build", "--steps", "99999999999999"),
    ("build", "--seed", "-1"),
    ("build", "--false-alarm-rate", "nan"),
    ("build", "--size", "99999999999"),
    ("sweep", "--seed", "-1"),
    ("components", "--size", "99999999999"),
]


@pytest.mark.parametrize(("command", "option", "value"), WRONG, ids=lambda text: str(text))
def test_a_wrong_value_is_refused_in_a_sentence(
    edgead: Command, tiny_bundle: Path, parts: Path, command: str, option: str, value: str
) -> None:
    before = {
        "run": ["--bundle", tiny_bundle, *([] if option in ("--source", "--camera") else ["--source", parts])],
        "bench": [tiny_bundle],
        "predict": [tiny_bundle, parts],
        "calibrate": [tiny_bundle, *([] if option == "--images" else ["--data", parts])],
        "threshold": [tiny_bundle],
        "build": ["--data", parts],
        "sweep": [parts],
        "components": [parts],
    }[command]
    code, out, err = edgead(command, *before, option, value)
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
    assert "fault in edgead" not in err
    assert not [path for path in Path.cwd().iterdir() if path.name not in ("parts",)]  # nothing was begun


@pytest.mark.parametrize(
    "spec",
    [
        "rtsp://user:p%40ss@camera.local:554/stream?channel=1&subtype=0",
        "http://[fe80::1%25eth0]:8080/video",
        "http://192.168.0.2/cgi?user=a&pwd=b",
        "udp://@:5000",
        "udp://@239.0.0.1:1234",
        "srt://:9000?mode=listener",
        "camera:0",
        "0",
        "http://kamera_1.local/video",
    ],
)
def test_addresses_as_people_write_them_are_taken(spec: str) -> None:
    check_source(spec)


def test_an_address_that_is_refused_shows_no_password() -> None:
    with pytest.raises(UsageError) as refused:
        check_source("rtsp://user:secret@camera:99999/x")
    assert "secret" not in str(refused.value)
