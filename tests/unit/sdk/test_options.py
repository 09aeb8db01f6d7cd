"""Options of `run` and `build`: one definition each, and what `--resolved` shows of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import tiny
import typer
import yaml
from typer.models import OptionInfo

from edgead.cli import options
from edgead.cli.app import make_app
from edgead.cli.commands import COMMANDS
from edgead.cli.run import run
from edgead.config import BuildConfig, StationConfig, load_station
from edgead.config.fields import Config, fields_of
from edgead_tools.commands import build


def flag(option: Any) -> str:
    """What names an option on the command line; typer keeps the first such word as if it were the default."""
    return str((*(option.param_decls or ()), option.default)[0])


def flags(command: Any) -> dict[str, str]:
    """The options of a command by parameter."""
    parameters = inspect.signature(command).parameters.values()
    found = {
        one.name: [meta for meta in get_args(one.annotation)[1:] if hasattr(meta, "param_decls")] for one in parameters
    }
    return {name: flag(metas[0]) for name, metas in found.items() if metas}


@pytest.mark.parametrize(
    ("command", "config", "own"),
    [
        (run, StationConfig, {"bundle_path", "station", "resolved"}),
        (build, BuildConfig, {"folder", "config", "resolved", "fresh", "finish", "many", "workers", "ray"}),
    ],
)
def test_every_option_is_a_field(command: Any, config: type[Config], own: set[str]) -> None:
    derived = {name: field.flag for name, field in fields_of(config).items() if field.flag}
    found = flags(command)
    assert {name: found[name] for name in derived} == derived
    assert found.keys() - derived.keys() == own
    assert all(field.help.endswith((".", "]")) for field in fields_of(config).values())


def test_options_that_commands_share_are_those_of_the_station() -> None:
    for shared, name in (
        (options.EngineName, "engine"),
        (options.PrecisionName, "precision"),
        (options.Threads, "threads"),
    ):
        (option,) = get_args(shared)[1:]
        assert flag(option) == fields_of(StationConfig)[name].flag
    assert {one.value for one in options.Precision} == set(fields_of(StationConfig)["precision"].choices)


OTHER = {  # options of commands that have the name of a setting and another meaning
    ("bench", "--out"): "the figures",
    ("add-normals", "--out"): "a changed bundle",
    ("calibrate", "--camera"): "any source that is live",
    ("calibrate", "--data"): "any source that ends",
    ("calibrate", "--out"): "a changed bundle",
    ("compile", "--batch"): "the sizes that an engine is built for",
    ("compile", "--out"): "a folder of engines",
    ("compile", "--program"): "the file that a build wrote",
    ("components", "--out"): "a page",
    ("demo", "--out"): "a folder",
    ("export", "--batch"): "frames that a network takes",
    ("explain", "--bundle"): "that of a recorded result",
    ("explain", "--engine"): "that of a recorded result where none is named",
    ("plc simulate", "--seed"): "of a simulated controller",
    ("pull", "--out"): "the station's bundle",
    ("quantize", "--data"): "images for a bundle that is there",
    ("quantize", "--out"): "a changed bundle",
    **{
        ("station init", f"--{name}"): "an answer that becomes the setting in the file"
        for name in ("bundle", "trigger", "plc", "answer-within", "review", "timeout")
    },
    ("rebuild", "--data"): "where the images of the former build are now",
    ("rebuild", "--out"): "a changed bundle",
    ("sweep", "--out"): "a folder",
    ("threshold", "--out"): "a changed bundle",
}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that has no configuration of its own, by name."""
    for name, entry in COMMANDS.items():
        command = entry.load(name)
        if isinstance(command, typer.Typer):
            for one in command.registered_commands:
                assert one.callback is not None
                yield f"{name} {one.name or one.callback.__name__}", one.callback
        elif name not in ("run", "build"):
            yield name, command


def test_every_option_that_is_a_setting_has_the_definition_of_its_field() -> None:
    settings = {
        field.flag: field
        for config in (BuildConfig, StationConfig)
        for field in fields_of(config).values()
        if field.flag
    }
    restated, stale = [], set(OTHER)
    for name, command in commands():
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            for option in filter(lambda one: isinstance(one, OptionInfo), get_args(parameter.annotation)[1:]):
                shown = flag(option) if flag(option).startswith("-") else f"--{parameter.name.replace('_', '-')}"
                stale.discard((name, shown))
                if shown in settings and (name, shown) not in OTHER and not hasattr(option, "field"):
                    restated.append(f"{name} {shown}")
    assert restated == []
    assert stale == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("threshold", "{bundle}", "--false-alarm-rate", "0"), "must be a number above 0 and of at most 0.5, not 0"),
        (("threshold", "{bundle}", "--false-alarm-rate", "nan"), "Invalid value for"),
        (("components", "somewhere", "--size", "65"), "size must be a multiple of 32"),
        (("sweep", "somewhere", "--size", "65"), "size must be a multiple of 32"),
        (("components", "somewhere", "--device", "tpu"), "device must be cpu, cuda or cuda:N"),
    ],
)
def test_a_settings_range_holds_in_every_command(
    edgead: Callable[..., tuple[int, str, str]], tiny_bundle: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = edgead(*(one.format(bundle=tiny_bundle) for one in arguments))
    assert code == 2
    assert said in " ".join(err.replace("\u2502", " ").split())


def test_resolved_prints_the_settings_and_where_they_came_from(
    edgead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_tiny(tmp_path / "tiny.edgead")
    station = {
        "cameras": {"left": "rtsp://user:secret@h/1?token=secret", "right": "gst:rtspsrc user-pw=secret"},
        "sinks": ["mqtt://user:secret@h/t", "keep:saved?quota=1GB"],
        "ignore": ["left=0,0,640,24"],
    }
    (tmp_path / "station.yaml").write_text(yaml.safe_dump(station))
    monkeypatch.setenv("EDGEAD_POLICY", "every")
    code, out, err = edgead("run", "--station", "station.yaml", "--resolved", "--min-area", "3")
    assert (code, err) == (0, "")
    assert "secret" not in out
    lines = {line.partition(":")[0]: line for line in out.splitlines()}
    assert lines.keys() == {field.key for field in fields_of(StationConfig).values()}
    for key, origin in (
        ("cameras", "station.yaml"), ("policy", "EDGEAD_POLICY"), ("min-area", "the command line"),
        ("bits", "the bundle"), ("bundle", "the bundle"), ("timeout", "default"),
    ):  # fmt: skip
        assert lines[key].endswith(f"  # {origin}"), lines[key]
    (tmp_path / "again.yaml").write_text(out)
    assert load_station(tmp_path / "again.yaml", {}, {}).config.ignore == station["ignore"]
    code, out, _ = edgead("build", "--data", "parts", "--set", "width=8", "--resolved")
    assert code == 0
    assert yaml.safe_load(out)["options"] == {"width": 8}


def test_a_build_takes_its_folder_and_its_bundle_in_short(edgead) -> None:
    code, out, _ = edgead("build", "parts", "-o", "cap.edgead", "--resolved")
    settings = yaml.safe_load(out)
    assert (code, settings["data"], settings["out"]) == (0, "parts", "cap.edgead")
    code, _, err = edgead("build", "parts", "--data", "others", "--resolved")
    assert (code, "name one folder of images" in err) == (2, True)


def test_out_is_short_everywhere() -> None:
    made = typer.main.get_command(make_app())
    context = typer.Context(made)
    commands = [made.get_command(context, name) for name in COMMANDS]  # type: ignore[attr-defined]
    commands += [inner for one in commands for inner in getattr(one, "commands", {}).values()]
    found = {one.name: option.opts for one in commands for option in one.params if "--out" in option.opts}
    assert found.keys() >= {"build", "sweep", "quantize", "threshold", "pull", "bench", "compile"}
    assert {name: opts for name, opts in found.items() if "-o" not in opts} == {}
