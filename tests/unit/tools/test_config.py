"""A build's configuration: precedence, types, and a sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgead.errors import UsageError
from edgead_tools.pipeline.config import load_config, parse_duration, parse_options


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_command_line_over_environment_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("edgead.yaml").write_text("data: from-file\nseed: 1\nsize: 128\nfalse_alarm_rate: 0.05\n")
    monkeypatch.setenv("EDGEAD_SEED", "2")
    monkeypatch.setenv("EDGEAD_SIZE", "192")
    config = load_config({"size": 320, "data": None})
    assert (config.data, config.seed, config.size, config.false_alarm_rate) == ("from-file", 2, 320, 0.05)


def test_the_command_line_says_when_to_stop() -> None:
    Path("edgead.yaml").write_text("data: parts\nbudget: 2h\n")
    assert load_config({}).budget_seconds == 7200
    config = load_config({"steps": 10})
    assert config.budget_seconds is None
    assert config.steps == 10


def test_default_names() -> None:
    config = load_config({"data": "parts/bottle"})
    assert config.bundle_path == Path("bottle.edgead")
    assert config.budget_seconds == 300


def test_folder_keys_are_data() -> None:
    Path("edgead.yaml").write_text("data:\n  root: parts/screw\n  normal_dir: ok\n")
    assert load_config({}).bundle_path == Path("screw.edgead")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dat: parts\n", "unknown key 'dat'.*did you mean 'data'"),
        ("data: parts\nsize: big\n", r"size"),
        ("data: parts\nsize: 100\n", "multiple of 32"),
        ("data: parts\nbudget: soon\n", "not a duration"),
        ("data: parts\nbudget: 5m\nsteps: 5\n", "one of budget, epochs and steps"),
        ("data: parts\nfalse_alarm_rate: 2\n", "must lie in"),
        ("data: parts\nbits: 9\n", "bits must be"),
        ("data: parts\nseed: -1\n", "seed must be"),
        ("data: parts\nthreads: -1\n", "threads must lie"),
        ("data: parts\ndevice: gpu\n", "device must be"),
        ("data: parts\nprogram: net.onnx\n", "program must be a file name that ends in .pt2"),
        ("data: parts\nepochs: .nan\n", "epochs must be above 0"),
        ("data: parts\nbudget: 0s\n", "budget must be above 0"),
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
        load_config({})


def test_a_named_file_must_exist() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_config({}, Path("nowhere.yaml"))


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
    assert parse_options(["width=64", "head=true", "name=a=b"]) == {"width": 64, "head": True, "name": "a=b"}
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_options(["width"])


def test_the_environment_says_when_to_stop_above_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("edgead.yaml").write_text("data: parts\nbudget: 2h\nepochs:\n")
    monkeypatch.setenv("EDGEAD_STEPS", "5")
    assert (load_config({}).steps, load_config({}).budget) == (5, "")
    assert load_config({"budget": "1m"}).budget_seconds == 60


def test_the_environment_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"DATA": "no: [parts", "SEED": "3", "SIZE": "", "OPTIONS": "{flips: true}"}.items():
        monkeypatch.setenv(f"EDGEAD_{name}", text)
    config = load_config({})
    assert (config.data, config.seed, config.size, config.options) == ("no: [parts", 3, 0, {"flips": True})
    monkeypatch.setenv("EDGEAD_DATA", "{root: parts/screw, normal_dir: ok}")
    assert load_config({}).bundle_path == Path("screw.edgead")
    for name, text in {"SEED": "[", "OPTIONS": "["}.items():
        monkeypatch.setenv(f"EDGEAD_{name}", text)
        with pytest.raises(UsageError, match=r"environment|EDGEAD_OPTIONS"):
            load_config({})
        monkeypatch.delenv(f"EDGEAD_{name}")
