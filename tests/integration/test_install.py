"""Wheel and source archive: built without a network, installed beside nothing else of edgead, and used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from edgead.cli.commands import COMMANDS

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what it needs of others is lent by this one, edgead itself is not."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                               check=True, capture_output=True, text=True).stdout.strip())  # fmt: skip
    lent = {sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))}
    pip = [sys.executable, "-m", "pip", "--python", python]  # into that environment, never out of this one
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", built[1]], check=True)
    (site / "lent.pth").write_text("\n".join(sorted(lent)))
    return python


def run(python: Path, *arguments: object) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python, "-m", "edgead", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=python.parent, env=environment)
    return done.stdout


def test_the_wheel_has_what_the_folders_have(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    listed = subprocess.run(
        ["git", "ls-files", "sdk", "calibration", "tools"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode == 0 and listed.stdout:
        tracked = {name.split("/", 1)[1] for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
        assert packed >= tracked
    assert {"edgead/py.typed", "edgead/web/static/index.html", "edgead/cuda/kernels/resize.cu"} <= packed
    with tarfile.open(built[0]) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "docs/quickstart.md", "examples/quickstart.py"} <= names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_every_hint_names_an_extra_that_the_wheel_has(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        metadata = Parser().parsestr(wheel.read(name).decode())
    extras = set(metadata.get_all("Provides-Extra"))
    texts = [path.read_text() for folder in ("sdk", "calibration", "tools") for path in (ROOT / folder).rglob("*.py")]
    texts += [path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]]
    named = {
        extra for text in texts for found in re.findall(r"edgead\[([a-z,-]+)\]", text) for extra in found.split(",")
    }
    named |= {entry.extra for entry in COMMANDS.values() if entry.extra}
    assert {"build", "demo", "web", "mqtt"} <= named <= extras
    assert metadata["Requires-Python"] == "<3.14,>=3.10"


def test_the_installed_commands_run(python: Path, tiny_bundle: Path) -> None:
    where = "import edgead, edgead_tools, edgead_calibration; print(edgead.__file__)"
    found = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()).is_relative_to(python.parents[1])
    checks = [json.loads(line) for line in run(python, "doctor", "--json").splitlines()]
    assert {"edgead", "onnxruntime", "torch"} <= {one["name"] for one in checks}
    assert "checkout" not in checks[0]["detail"]
    assert "Judge frame after frame" in run(python, "--help")
    assert "tiny" in run(python, "info", tiny_bundle)
    assert run(python, "verify", tiny_bundle, "--engine", "onnx").startswith("ok")


@pytest.mark.parametrize("version", PYTHONS)
def test_every_file_is_valid_for_every_python(version: str, built: tuple[Path, Path], tmp_path: Path) -> None:
    named = shutil.which(f"python{version}")
    found = [*([named] if named else []), *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    answers = [one for one in found if subprocess.run([one, "-V"], capture_output=True, check=False).returncode == 0]
    if not answers:
        pytest.skip(f"there is no Python {version} here")
    with zipfile.ZipFile(built[1]) as wheel:
        wheel.extractall(tmp_path)
    subprocess.run([answers[0], "-W", "error", "-m", "compileall", "-q", tmp_path], check=True)


def copied(dockerfile: Path) -> list[str]:
    """What a Dockerfile takes from the checkout."""
    lines = [line.split()[1:-1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY ")]
    return [name for names in lines for name in names if not names[0].startswith("--from")]


def test_a_container_builds_and_installs_from_what_it_copies(tmp_path: Path) -> None:
    """Its own lines, where no container can be built: the wheel of those files alone, and its extras resolved."""
    files = sorted((ROOT / "examples/fleet").glob("*.Dockerfile"))
    (taken,) = {tuple(copied(path)) for path in files}  # the same for each
    for name in taken:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "wheels", tmp_path]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        extras = set(Parser().parsestr(archive.read(name).decode()).get_all("Provides-Extra"))
        assert any(name.endswith("entry_points.txt") for name in archive.namelist())  # the image's entry point
    for path in files:
        (wanted,) = re.findall(r"\.whl\)\[([\w,]+)\]", path.read_text())
        assert set(wanted.split(",")) <= extras
    (wanted,) = re.findall(r"\.whl\)\[([\w,]+)\]", (ROOT / "examples/fleet/cpu.Dockerfile").read_text())
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--quiet", f"{wheel}[{wanted}]"]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
