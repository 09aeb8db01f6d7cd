"""What the README and the examples tell people to do works as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.system.platforms import JETPACKS, dotted
from edgead_tools.data import open_dataset, read_mask
from edgead_tools.pipeline.config import load_config

ROOT = Path(__file__).parents[2]
README, NVIDIA = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "examples/nvidia.md"))


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=True)


@pytest.fixture
def station(tmp_path: Path, tiny_bundle: Path) -> Path:
    """A folder with a bundle and two images, as the README's reader has it."""
    shutil.copyfile(tiny_bundle, tmp_path / "bottle.edgead")
    (tmp_path / "images").mkdir()
    for name, level in (("a.png", 0), ("b.png", 255)):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((48, 64, 3), level, np.uint8))
    return tmp_path


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_in_the_readme_runs(station: Path, block: str) -> None:
    done = run("-c", block, cwd=station)
    assert "a.png" in done.stdout
    assert "NG" in done.stdout


@pytest.mark.parametrize("block", blocks("yaml"))
def test_the_yaml_in_the_readme_is_a_configuration(tmp_path: Path, block: str) -> None:
    (tmp_path / "edgead.yaml").write_text(block)
    config = load_config({}, tmp_path / "edgead.yaml")
    assert config.data == "parts/bottle"
    assert config.options == {"flips": True}


@pytest.mark.parametrize(
    ("page", "known"),
    [
        (README, {"build", "run", "predict", "eval", "info", "verify", "threshold", "doctor"}),
        (NVIDIA, {"build", "run", "compile", "doctor"}),
    ],
    ids=["README", "nvidia"],
)
def test_every_command_of_a_page_exists_with_its_options(page: str, known: set[str]) -> None:
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    typed = [*re.findall(r"`([^`]+)`", prose), *"\n".join(blocks("sh", page)).splitlines()]
    calls = [match for line in typed for match in re.findall(r"^edgead ([a-z]+)(.*)$", line, re.DOTALL)]
    assert known <= {name for name, _ in calls}
    for name, rest in calls:
        text = run("-m", "edgead", name, "--help", cwd=ROOT).stdout
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in text, f"edgead {name} {option}"


def test_the_page_for_nvidia_has_the_table_that_doctor_goes_by() -> None:
    for row in JETPACKS:
        cuda, python = dotted(row.cuda), dotted(row.python)
        (line,) = (line for line in NVIDIA.splitlines() if line.startswith("| JetPack") and row.name[:3] in line)
        assert {cuda, python} <= {cell.strip() for cell in line.split("|")}
        assert all(text in line for text in (*map(dotted, row.tensorrt), dotted(row.linux[:2]), *row.boards))


def test_the_commands_for_install_are_what_ci_runs() -> None:
    command = re.search(r"<!-- test command -->\n```sh\n(.*?)\n```\n<!-- end -->", README, re.DOTALL)
    assert command is not None
    assert "pytest" in command[1]
    assert "README.md" in (ROOT / ".ci/run").read_text()


def test_the_quickstart_judges_images_and_draws_them(station: Path) -> None:
    done = run(ROOT / "examples/quickstart.py", "bottle.edgead", "images/a.png", "images/b.png", cwd=station)
    assert "OK" in done.stdout
    assert "NG" in done.stdout
    assert (station / "images/b.png.overlay.jpg").exists()


def test_the_line_station_rejects_and_records(station: Path) -> None:
    done = run(ROOT / "examples/line_station.py", "bottle.edgead", "images", "record.jsonl", cwd=station)
    assert "reject part" in done.stdout
    assert len((station / "record.jsonl").read_text().splitlines()) == 2


def test_the_drawn_parts_are_a_data_set(tmp_path: Path) -> None:
    run(ROOT / "examples/make_parts.py", tmp_path / "flange", cwd=tmp_path)
    dataset = open_dataset(tmp_path / "flange")
    assert (dataset.layout, len(dataset.train), len(dataset.test)) == ("mvtec", 120, 60)
    assert dataset.has_masks
    assert all(read_mask(sample).any() for sample in dataset.test if not sample.is_good)
