"""The README, the site and the examples: what they tell people to do works as it stands there."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
import tiny
import typer.main
import yaml
from nbclient import NotebookClient

from edgead import Bundle
from edgead.cli.app import make_app
from edgead.config import load_build
from edgead.system.platforms import JETPACKS, dotted
from edgead_tools.data import open_dataset, read_mask
from edgead_tools.export.standalone import export_onnx

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
}
README, NVIDIA, TROUBLES = (PAGES[name] for name in ("README.md", "docs/nvidia.md", "docs/troubleshooting.md"))
WORDS = 900  # of the README at the most
COMMANDS = {"build", "run", "predict", "eval", "info", "verify", "threshold", "doctor", "compile", "calibrate", "sweep"}


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, code) of every code block in that language."""
    found = [
        (name, code) for name, page in PAGES.items() for code in re.findall(rf"```{language}\n(.*?)```", page, re.S)
    ]
    assert found
    return found


@pytest.mark.parametrize("name", PAGES)
def test_lines_are_as_long_as_those_of_code(name: str) -> None:
    """But for tables, code, and what cannot be broken: pictures, links, titles."""
    text = re.sub(r"^ *```.*?^ *```", "", PAGES[name], flags=re.M | re.S)
    long = [line for line in text.splitlines() if len(line) > 120 and " " in line[:120].strip()]
    assert [line for line in long if not re.match(r" *(\||#|!?\[)", line)] == []


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """What `edgead export --onnx` writes of the bundle."""
    path = tmp_path_factory.mktemp("export") / "bottle.onnx"
    export_onnx(Bundle.open(tiny_bundle), path)
    return path


@pytest.fixture
def station(tmp_path: Path, tiny_bundle: Path, graph: Path) -> Path:
    """A folder with a bundle, the same as a graph, and two images, as a reader has it."""
    shutil.copyfile(tiny_bundle, tmp_path / "bottle.edgead")
    shutil.copyfile(graph, tmp_path / "bottle.onnx")
    (tmp_path / "images").mkdir()
    for name, level in (("a.png", 0), ("b.png", 255)):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((48, 64, 3), level, np.uint8))
    return tmp_path


def test_the_readme_is_short() -> None:
    text = re.sub(r"<!--.*?-->", "", README)
    assert len([word for word in text.split() if re.search(r"\w", word)]) <= WORDS


@pytest.mark.parametrize(("page", "block"), blocks("python"), ids=lambda value: value if value.endswith(".md") else "")
def test_the_python_of_a_page_runs(station: Path, page: str, block: str) -> None:
    done = run("-c", block, cwd=station)
    assert "a.png" in done.stdout
    assert "NG" in done.stdout


def test_the_yaml_of_the_pages_is_configuration(tmp_path: Path, edgead) -> None:
    configs = [code for _, code in blocks("yaml") if "data" in yaml.safe_load(code)]
    stations = [code for _, code in blocks("yaml") if "data" not in yaml.safe_load(code)]
    assert configs
    assert stations
    for code in configs:
        (tmp_path / "edgead.yaml").write_text(code)
        config = load_build(tmp_path / "edgead.yaml").config
        assert config.data == "parts/bottle"
        assert config.options == {"flips": True}
    for code in stations:
        given = (
            {"cameras": {"top": "synthetic:"}} | yaml.safe_load(code) | {"bundle": "absent.edgead", "trust": []}
        )  # no key lies here
        (tmp_path / "station.yaml").write_text(yaml.safe_dump(given))
        code, _, err = edgead("run", "--station", "station.yaml")
        assert (code, "there is no bundle at absent.edgead" in err) == (1, True), err  # all else was understood


def test_every_command_of_the_pages_exists_with_its_options() -> None:
    known = typer.main.get_command(make_app())
    context = typer.Context(known)
    called = set()
    for name, page in PAGES.items():
        prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
        shell = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
        for line in [*re.findall(r"`([^`]+)`", prose), *shell.splitlines()]:
            for command, rest in re.findall(r"^edgead ([a-z][a-z-]*)\b(.*)$", " ".join(line.split())):
                called.add(command)
                found = known.get_command(context, command)  # type: ignore[attr-defined]
                assert found is not None, f"{name}: edgead {command}"
                found = getattr(found, "commands", {}).get((rest.split() or [""])[0], found)  # a command of a group
                options = {option for one in found.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
                odd = set(re.findall(r"--[a-z][a-z-]*", rest)) - options
                assert not odd, f"{name}: edgead {command} {odd}"
    assert called >= COMMANDS


def test_every_link_to_a_file_leads_somewhere() -> None:
    for name in (name for name in PAGES if "/" not in name):  # those of the site are checked by its build
        for target in re.findall(r"\]\(([^)#:]+)\)", PAGES[name]):
            assert (ROOT / target).exists(), f"{name} links to {target}"


def test_every_file_that_a_page_names_exists() -> None:
    pattern = re.compile(r"`((?:sdk|calibration|tools|tests|benchmarks|examples|docs|\.ci)/[\w./-]*\w)`")
    for name, page in PAGES.items():
        for target in pattern.findall(page):
            assert (ROOT / target).exists(), f"{name} names {target}"


def test_every_message_of_troubleshooting_is_one_that_edgead_has() -> None:
    said = set()
    for path in (path for folder in ("sdk", "calibration", "tools") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(node.value)
    rows = re.findall(r"^\| `([^|]+)` \|", TROUBLES, re.MULTILINE)
    assert len(rows) > 30
    assert [row for row in rows if not any(row in text for text in said)] == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "site/api/index.html").read_text(encoding="utf-8")
    missing = [name for name in importlib.import_module("edgead").__all__ if f'id="edgead.{name}"' not in api]
    assert missing == []
    pages = {page: page.read_text(encoding="utf-8") for page in (tmp_path / "site").rglob("*.html")}
    outside = re.compile(
        r'<(?:script|img|iframe)[^>]* src="?(?:https?:)?//|<link[^>]*(?:stylesheet|icon)[^>]*//|mermaid'
    )
    assert {
        page.name for page, text in pages.items() if outside.search(text)
    } == set()  # it loads nothing from elsewhere


def test_the_notebook_runs(station: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_MODEL", "bottle.edgead")
    monkeypatch.setenv("EDGEAD_SOURCE", "images")
    monkeypatch.setenv("IPYTHONDIR", str(station / "ipython"))
    notebook = nbformat.read(ROOT / "examples/first_look.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # committed without output
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(station)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "a.png: OK" in printed
    assert "b.png: NG" in printed
    assert "image/png" in notebook.cells[-1]["outputs"][0]["data"]


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


def assert_judges(command: list[str | Path], graph: Path, folder: Path) -> None:
    """A program judges a dark picture OK and a bright one NG, and says that half a picture is none."""
    picture = folder / "picture.ppm"
    for level, said, code in ((0, "OK", 0), (255, "NG", 1)):
        cv2.imwrite(str(picture), np.full((tiny.SIZE, tiny.SIZE, 3), level, np.uint8))
        done = subprocess.run([*command, graph, picture], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout.split()[1:]) == (code, [said]), done.stderr
    picture.write_bytes(picture.read_bytes()[:-10])
    done = subprocess.run([*command, graph, picture], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.endswith("is cut short\n")) == (2, True)


def test_the_native_example_judges_as_the_bundle_does(tmp_path: Path, graph: Path) -> None:
    wheel = Path(importlib.util.find_spec("openvino").origin).parent  # type: ignore[union-attr, arg-type]
    (library,) = wheel.glob("libs/libopenvino.so.*")
    source, program = ROOT / "examples/native/judge.cpp", tmp_path / "judge"
    flags = ("-std=c++17", "-Wall", "-Werror", "-I", str(wheel / "include"), f"-Wl,-rpath,{wheel / 'libs'}")
    subprocess.run(["g++", str(source), "-o", str(program), str(library), *flags], check=True, timeout=200)
    assert_judges([program], graph, tmp_path)


@pytest.mark.skipif(shutil.which("dotnet") is None, reason="there is no .NET SDK here")
def test_the_native_example_in_c_sharp_judges_as_the_bundle_does(tmp_path: Path, graph: Path) -> None:
    for name in ("Judge.cs", "judge.csproj"):
        shutil.copyfile(ROOT / "examples/native" / name, tmp_path / name)
    subprocess.run(["dotnet", "build", tmp_path, "-o", tmp_path / "built"], check=True, timeout=280)
    assert_judges(["dotnet", tmp_path / "built/judge.dll"], graph, tmp_path)
