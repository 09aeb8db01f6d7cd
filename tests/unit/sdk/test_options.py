"""Options of `run` and `build`: one definition each, and what `--resolved` shows of them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_args

import pytest
import tiny
import yaml

from edgead.cli import options
from edgead.cli.run import run
from edgead.config import BuildConfig, StationConfig, load_station
from edgead.config.fields import Config, fields_of
from edgead_tools.commands import build


def flag(option: Any) -> str:
    """What names an option on the command line; typer keeps the first such word as if it were the default."""
    return str((*option.param_decls, option.default)[0])


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
        (run, StationConfig, {"station", "resolved"}),
        (build, BuildConfig, {"config", "resolved", "fresh", "finish"}),
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
