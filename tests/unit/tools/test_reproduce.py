"""The tables of the documentation are what the committed results say."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import onnx
import pytest
import tiny
from onnx import TensorProto, helper

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


ELSEWHERE = (  # run by others, between two versions, or by the script for a GPU
    "anomalib_models.py",
    "before_after.py",
    "gpu_needs.py",
    "gpu_table.py",
    "peer_models.py",
    "tables.py",
)


def load(name: str) -> ModuleType:
    """A benchmark as a module: they are scripts, in no package, and find each other in their folder."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_results() -> None:
    reproduce, tables = load("reproduce"), load("tables")
    pages = [(BENCHMARKS.parent / name).read_text(encoding="utf-8") for name in tables.PAGES]
    assert all(tables.written(text) == text for text in pages), "run `python benchmarks/reproduce.py tables`"
    shown = [name for text in pages for name in re.findall(r"<!-- table: (\w+) -->", text)]
    assert sorted(shown) == sorted(tables.TABLES)
    for name in reproduce.CURVES:
        picture = reproduce.ROOT / f"docs/images/{name}.svg"
        assert Path(tables.result(name)).with_suffix(".svg").read_bytes() == picture.read_bytes()


def test_every_step_is_a_benchmark_that_writes_what_a_table_reads(tmp_path: Path) -> None:
    tables, lines = load("tables"), load("reproduce").steps(tmp_path, tmp_path)
    assert all((BENCHMARKS / program).exists() for program, *_ in lines)
    outputs = {line[line.index("--out") + 1] for line in lines if "--out" in line}
    assert {tables.result(one) for sources, _ in tables.TABLES.values() for one in sources} <= outputs


def test_every_benchmark_is_a_step_and_in_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)  # as with a GPU and Aravis
    programs = {path.name for path in BENCHMARKS.glob("*.py")} - {"reproduce.py", *ELSEWHERE}
    assert programs == {line[0] for line in load("reproduce").steps(tmp_path, tmp_path)} - {
        f"../tests/support/{name}.py" for name in ("trays", "panels", "digits")
    }
    index = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in BENCHMARKS.glob("*.py") if f"`{path.name}`" not in index] == []


@pytest.mark.parametrize("quick", [False, True])
def test_every_step_is_understood_by_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool) -> None:
    class Understood(Exception):
        """The command line was parsed; nothing is measured here."""

    def parsed(parser: argparse.ArgumentParser, *_: object) -> None:
        parse_known(parser)
        raise Understood

    parse_known = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr("shutil.which", lambda name: name)  # as with a GPU and Aravis
    monkeypatch.setattr("sys.path", [str(BENCHMARKS), *sys.path])
    reproduce = load("reproduce")
    for name in load("tables").SETS:
        (tmp_path / name).mkdir()
    for line in reproduce.steps(tmp_path, tmp_path / "keep", "machine"):
        program, *arguments = reproduce.quick(line) if quick else line
        if program.endswith(("trays.py", "panels.py", "digits.py")):
            continue
        monkeypatch.setattr("sys.argv", [program, *arguments])
        with pytest.raises(Understood):
            runpy.run_path(str(BENCHMARKS / program), run_name="__main__")


def test_a_step_that_fails_does_not_stop_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"failed: limit\.py; "):
        load("reproduce").measure([["limit.py"], ["curve.py", "--help"]])
    assert "usage: curve.py" in capfd.readouterr().out


def test_a_table_that_nothing_makes_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no table is called 'speeds'"):
        load("tables").written("<!-- table: speeds -->\n<!-- end -->")


def test_multiply_adds_are_counted_by_shape() -> None:
    limit = load("limit")
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [8, 2, 3, 3], [0.0] * 144),
        helper.make_tensor("m", TensorProto.FLOAT, [4, 5], [0.0] * 20),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["y"], group=2, pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("MatMul", ["y", "m"], ["z"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in
            (("image", ["batch", 4, 8, 8]), ("z", ["batch", 8, 4, 5]))]  # fmt: skip
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights), ir_version=8)
    assert limit.multiply_adds(model) == 8 * 4 * 4 * 2 * 9 + 8 * 4 * 5 * 4
    assert limit.multiply_adds(onnx.load_from_string(tiny.graph())) == 0
    for kind in ("fp32", "int8"):
        run = limit.runner(limit.product(kind).SerializeToString())
        assert run()[0].shape == (limit.SIDE, limit.SIDE)


@pytest.mark.parametrize("program", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_every_benchmark_says_what_it_does(program: str) -> None:
    text = (BENCHMARKS / program).read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert f"{program} " in text.split('"""')[1]
    for node in ast.parse(text).body:  # what it imports is there
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for root in (name.partition(".")[0] for name in names):
            assert (BENCHMARKS / f"{root}.py").exists() or importlib.util.find_spec(root), f"{program} imports {root}"


def test_the_comparison_shows_the_spread_of_seeds_and_how_many_they_are() -> None:
    def figures(spread: float | None, seeds: int) -> dict[str, dict[str, float | None]]:
        return {"image_auroc": {"mean": 0.9876, "spread": spread, "seeds": seeds}}

    summary = {"bottle": {"PaDiM": figures(None, 1), "memory": figures(0.0123, 3)}}
    tables = load("tables")
    assert tables.seeds_table({"summary": summary}).endswith("| MVTec AD bottle | 3, 1 | 0.988 ± 0.012 | 0.988 |")
    assert tables.comparison_table({"summary": summary}).endswith("| MVTec AD bottle | 0.988 | 0.988 |")
