"""What another package adds by entry points keeps the same contracts as edgead's own."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from edgead.errors import UsageError
from edgead.registry import Lazy, Registry
from edgead.stream.sinks import SINKS, open_sink
from edgead.stream.sources import SOURCES, open_source

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where pip has installed the example package."""
    folder = tmp_path_factory.mktemp("plugin")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", folder, ROOT / "examples/plugin"], check=True
    )
    return folder


@pytest.fixture
def plugin(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)


@pytest.mark.usefixtures("plugin")
def test_its_names_come_after_our_own() -> None:
    assert list(SINKS)[-1] == "csv"
    assert list(SOURCES)[-1] == "npy"
    assert len(SINKS) == len(SINKS.builtin) + 1
    assert SINKS["csv"].install == "pip install edgead-plugin-example"


@pytest.mark.usefixtures("plugin")
def test_the_command_line_takes_them(edgead, tiny_bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.stack([tiny.good(), tiny.bad()]))
    arguments = ["--source", f"npy:{tmp_path / 'frames.npy'}", "--sink", f"csv:{tmp_path / 'seen.csv'}?separator=;"]
    assert edgead("run", "--bundle", tiny_bundle, *arguments)[0] == 0
    with (tmp_path / "seen.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert [(row["index"], row["verdict"]) for row in rows] == [("0", "OK"), ("1", "NG")]


@pytest.mark.usefixtures("plugin")
def test_a_mistake_is_answered_as_for_our_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no option 'seperator': did you mean 'separator'"):
        open_sink(f"csv:{tmp_path / 'seen.csv'}?seperator=;")
    with pytest.raises(UsageError, match="did you mean 'npy'"):
        open_source("npi:frames.npy")


def test_without_it_nothing_is_left_of_it() -> None:
    assert "csv" not in SINKS
    with pytest.raises(KeyError):
        SINKS["csv"]


def test_an_own_entry_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "other-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[edgead.sinks]\nown = other:Own\nnew = other:New\n")
    monkeypatch.syspath_prepend(tmp_path)
    table = Registry("edgead.sinks", Lazy, {"own": Lazy("edgead.own:Own")})
    assert {name: (entry.target, entry.install) for name, entry in table.items()} == {
        "own": ("edgead.own:Own", "pip install edgead"),
        "new": ("other:New", "pip install other"),
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["test_sinks.py", "--sink", "csv:{folder}/results.csv"],
        ["test_sources.py", "--source", "npy:{folder}/frames.npy"],
    ],
    ids=["sink", "source"],
)
def test_the_contract_suite_runs_over_it(arguments: list[str], installed: Path) -> None:
    suite, *options = arguments
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ROOT / "tests/contract" / suite, *options],
        env={"PYTHONPATH": str(installed), "PATH": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split(" passed")[0].split()[-1]) >= 2
