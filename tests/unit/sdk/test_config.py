"""Configurations: precedence, types, where a value came from, and a sentence for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgead.cli.derive import parse_pairs
from edgead.config import BuildConfig, StationConfig, load_build, load_station
from edgead.config.build import parse_duration
from edgead.config.loader import validated
from edgead.config.reading import parse_yaml
from edgead.errors import UsageError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_command_line_over_environment_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("edgead.yaml").write_text("data: from-file\nseed: 1\nsize: 128\nfalse_alarm_rate: 0.05\n")
    monkeypatch.setenv("EDGEAD_SEED", "2")
    monkeypatch.setenv("EDGEAD_SIZE", "192")
    config = load_build(None, {"size": 320, "data": None}).config
    assert (config.data, config.seed, config.input_size, config.false_alarm_rate) == ("from-file", 2, (320, 320), 0.05)


def test_the_command_line_says_when_to_stop() -> None:
    Path("edgead.yaml").write_text("data: parts\nbudget: 2h\n")
    assert load_build().config.budget_seconds == 7200
    assert load_build(None, {"budget": "0"}).config.budget_seconds == 0
    config = load_build(None, {"steps": 10}).config
    assert config.budget_seconds is None
    assert config.steps == 10


def test_default_names() -> None:
    config = load_build(None, {"data": "parts/bottle"}).config
    assert config.bundle_path == Path("bottle.edgead")
    assert config.budget_seconds == 300


def test_folder_keys_are_data() -> None:
    Path("edgead.yaml").write_text("data:\n  root: parts/screw\n  normal_dir: ok\n")
    assert load_build().config.bundle_path == Path("screw.edgead")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dat: parts\n", "unknown key 'dat'.*did you mean 'data'"),
        ("data: parts\nsize: big\n", "'size' in edgead.yaml cannot be used: size must be a side such as 256"),
        ("data: parts\nsize: 100\n", "multiple of 32"),
        ("data: parts\nbudget: soon\n", "not a duration"),
        ("data: parts\nbudget: 5m\nsteps: 5\n", "one of budget, epochs and steps"),
        ("data: parts\nfalse_alarm_rate: 2\n", "it must be a number above 0 and of at most 0.5, not '2'"),
        ("data: parts\nbits: 9\n", "it must be 10, 12, 14 or 16, not '9'"),
        ("data: parts\nseed: -1\n", "a whole number of at least 0"),
        ("data: parts\nthreads: -1\n", "of at least 0 and of at most 1024"),
        ("data: parts\ndevice: gpu\n", "device must be"),
        ("data: parts\nprogram: net.onnx\n", "program must be a file name that ends in .pt2"),
        ("data: parts\nepochs: .nan\n", "a number above 0"),
        ("data: parts\nepochs: .inf\n", "a number above 0 and of at most"),
        ("data: parts\nseed: 1\nseed: 2\n", r"the key 'seed' is there twice \(line 3\)"),
        ("data: parts\nepochs: 0\n", "must be a number above 0"),
        ("data: parts\nout: yes\n", "in edgead.yaml cannot be used"),
        ("data: [unclosed\n", "not valid YAML"),
        ("- data\n", "must hold keys and values"),
        ("seed: 1\n", "say where the good images are"),
        ("data: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
    ],
)
def test_mistakes_are_named(text: str, says: str) -> None:
    Path("edgead.yaml").write_text(text)
    with pytest.raises(UsageError, match=says):
        load_build()


def test_a_named_file_must_exist() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_build(Path("nowhere.yaml"))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5m", 90)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5 minutes", "-5m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["5", " 1.5 "])
def test_a_duration_needs_its_unit(text: str) -> None:
    with pytest.raises(UsageError, match=r"has no unit: write (5|1\.5)m for minutes or (5|1\.5)s for seconds"):
        parse_duration(text)


def test_options() -> None:
    assert parse_pairs(["width=64", "head=true", "name=a=b"]) == {"width": 64, "head": True, "name": "a=b"}
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_pairs(["width"])


def test_the_environment_says_when_to_stop_above_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("edgead.yaml").write_text("data: parts\nbudget: 2h\nepochs:\n")
    monkeypatch.setenv("EDGEAD_STEPS", "5")
    assert (load_build().config.steps, load_build().config.budget) == (5, "")
    assert load_build(None, {"budget": "1m"}).config.budget_seconds == 60


def test_the_environment_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"DATA": "no: [parts", "SEED": "3", "SIZE": "", "OPTIONS": "{flips: true}"}.items():
        monkeypatch.setenv(f"EDGEAD_{name}", text)
    config = load_build().config
    assert (config.data, config.seed, config.size, config.options) == ("no: [parts", 3, "", {"flips": True})
    monkeypatch.setenv("EDGEAD_DATA", "{root: parts/screw, normal_dir: ok}")
    assert load_build().config.bundle_path == Path("screw.edgead")
    for name, text in {"SEED": "[", "OPTIONS": "["}.items():
        monkeypatch.setenv(f"EDGEAD_{name}", text)
        with pytest.raises(UsageError, match=f"EDGEAD_{name}"):
            load_build()
        monkeypatch.delenv(f"EDGEAD_{name}")


def test_every_value_says_where_it_came_from() -> None:
    path = Path("station.yaml")
    path.write_text(
        "cameras: {left: parts}\nmin-area: 3\nthreads: 1\nlimit: 9\nvote: 2\nsink: jsonl:a.jsonl\nreview:\n"
    )
    environment = {"EDGEAD_THREADS": "2", "EDGEAD_MODEL": "a.edgead", "EDGEAD_POLICY": ""}
    found = load_station(path, {"limit": 5, "save": Path("seen"), "video": None}, environment)
    found = found.below("the bundle", {"bits": 12, "threads": 7})
    said = {
        name: (getattr(found.config, name), origin) for name, origin in found.origins.items() if origin != "default"
    }
    assert said == {
        "cameras": ({"left": "parts"}, "station.yaml"),
        "min_area": (3.0, "station.yaml"),
        "vote": (2, "station.yaml"),
        "sinks": (["jsonl:a.jsonl"], "station.yaml"),
        "threads": (2, "EDGEAD_THREADS"),
        "bundle": ("a.edgead", "EDGEAD_MODEL"),
        "limit": (5, "the command line"),
        "save": ("seen", "the command line"),
        "bits": (12, "the bundle"),
    }


@pytest.mark.parametrize(
    ("command_line", "environment", "specs"),
    [
        ({}, {}, ["left=a", "right=b"]),
        ({}, {"EDGEAD_SOURCE": "my parts"}, ["my parts"]),
        ({"camera": 1}, {"EDGEAD_SOURCE": "my parts"}, ["camera:1"]),
        ({"source": ["x=1", "y=2"]}, {}, ["x=1", "y=2"]),
    ],
)
def test_the_most_explicit_origin_says_what_is_looked_at(
    command_line: dict[str, object], environment: dict[str, str], specs: list[str]
) -> None:
    path = Path("station.yaml")
    path.write_text("cameras: {left: a, right: b}\n")
    assert load_station(path, command_line, environment).config.specs == specs


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"threads": -1}, "`int` >= 0"),
        ({"threads": "many"}, "`int`"),
        ({"policy": "newest"}, "newest"),
        ({"cameras": ["a"]}, "`object`"),
        ({"review": 1.5}, "`float` < 1"),
        ({"timeout": float("nan")}, "`float` >= 0"),
    ],
)
def test_what_is_made_in_python_is_checked_where_it_is_used(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        validated(StationConfig(**wrong))
    assert validated(StationConfig(bundle=Path("a.edgead"), vote="name")).bundle == "a.edgead"  # type: ignore[arg-type]


def test_fields_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="give one of budget, epochs and steps, not epochs and steps"):
        BuildConfig(steps=3, epochs=1.0)
    with pytest.raises(UsageError, match="give one of source, cameras and camera, not source and camera"):
        StationConfig(source="parts", camera=0)


def test_what_yaml_says_is_not_shown_where_it_cannot_be_read() -> None:
    for text in ("a: [mqtt://u:secret@h", "a: 'secret", "mqtt://u:secret@h/x: 1\nmqtt://u:secret@h/x: 2\n"):
        with pytest.raises(UsageError, match=r"s is not valid YAML: .*\(line \d\)") as caught:
            parse_yaml(text, "s")
        assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match=r"the key 'b' is there twice \(line 2\)"):
        parse_yaml("a: {b: 1,\n  b: 2}", "s")
    assert parse_yaml("base: &b {x: 1}\none: {<<: *b, x: 2}", "s")["one"] == {"x": 2}


def test_a_scale_is_two_points_and_their_distance() -> None:
    assert BuildConfig(scale="120,80,620,80,25").known_scale == pytest.approx(0.05)
    assert BuildConfig(scale="0,0,30,40,5").known_scale == pytest.approx(0.1)
    assert BuildConfig(mm_per_pixel=0.2).known_scale == 0.2
    assert BuildConfig().known_scale == 0


@pytest.mark.parametrize("text", ["1,2,3,4", "a,b,c,d,e", "5,5,5,5,10", "0,0,10,0,0", "0,0,10,0,inf", "nan,0,1,1,5"])
def test_a_scale_that_says_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="scale"):
        BuildConfig(scale=text)


def test_one_scale_is_given() -> None:
    with pytest.raises(UsageError, match="not both"):
        BuildConfig(scale="0,0,10,0,1", mm_per_pixel=0.1)
