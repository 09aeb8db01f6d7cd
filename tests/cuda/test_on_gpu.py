"""The script for a GPU that is lent for minutes runs whole on the emulated driver, and keeps to its time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = BENCHMARKS / "on_gpu.sh"
SECONDS = 480  # that a GPU is lent for


def call(*options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    whole = os.environ | {"PATH": path} | environment
    return subprocess.run(["bash", SCRIPT, *map(str, options)], capture_output=True, text=True, env=whole)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module


def test_every_step_runs_and_is_in_the_summary(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "numpy-0.0.1-py3-none-any.whl").write_text("of no use: the one that is here stays")
    with zipfile.ZipFile(wheels / "carried_along-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried_along.py", "")
        for name, lines in {
            "METADATA": ("Metadata-Version: 2.1", "Name: carried-along", "Version: 1.0"),
            "WHEEL": ("Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"),
            "RECORD": (),
        }.items():
            wheel.writestr(f"carried_along-1.0.dist-info/{name}", "".join(f"{line}\n" for line in lines))
    done = call("--emulated", "--out", tmp_path, "--wheels", wheels)
    logs = "".join(path.read_text()[-2000:] for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    lines = (tmp_path / "summary.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["install", "needs", "smoke", "kernels", "engine", "tests"]
    assert "absent here: carried_along-1.0-py3-none-any.whl" in (tmp_path / "install.log").read_text()
    assert all(line.endswith("ok") for line in lines)
    assert list(json.loads((tmp_path / "kernels.json").read_text())["batches"]) == ["1", "8"]
    engine = json.loads((tmp_path / "engine.json").read_text())
    for precision in ("fp32", "fp16"):
        assert list(engine[precision]["batches"]) == ["1", "4"]
        assert engine[precision]["checks"]["frames"] == 6
    assert "frames to readings, fp16, batch 4" in done.stdout
    assert done.stdout.index("Emulated GPU") < done.stdout.index("resize, batch 1") < done.stdout.index("needs ")


def test_what_every_step_needs_and_is_missing_stops_it_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise ImportError('broken here')")
    done = call("--emulated", "--out", tmp_path / "out", PYTHONPATH=str(tmp_path), PYTHONSAFEPATH="")
    assert done.returncode == 1
    assert "missing for all: msgspec (msgspec): ImportError: broken here" in done.stdout
    assert [line.split()[0] for line in (tmp_path / "out" / "summary.txt").read_text().splitlines()] == ["needs"]


def test_the_limits_of_all_steps_fit_into_the_time_that_a_gpu_is_lent() -> None:
    text = SCRIPT.read_text()
    limits = {name: int(seconds) for name, seconds in re.findall(r"^ *step (\w+) (\d+) ", text, re.MULTILINE)}
    assert set(limits) == {"install", "needs", "smoke", "kernels", "engine", "tests", "baselines"}
    (sanitizers,) = re.findall(r"timeout --kill-after=5 (\d+) compute-sanitizer", text)
    assert sum(limits.values()) + int(sanitizers) <= SECONDS


def test_a_wrong_option_prints_how_it_is_called(tmp_path: Path) -> None:
    done = call("--all")
    assert done.returncode == 2
    assert "--wheels DIR" in done.stdout
    assert "measures nothing" in done.stdout.splitlines()[-1]


RUN = {
    "kernels": {
        "gpu": {"name": "NVIDIA Test 9000"},
        "batches": {"1": {"kernels": {"resize": {"us": 4.1, "least_us": 3.0, "times_least": None}}}},
    },
    "engine": {
        "gpu": {"name": "NVIDIA Test 9000"},
        "fp32": {
            "batches": {"1": {"end_to_end_ms": 0.7, "network_alone_ms": 0.65, "frames_a_second": 1428.0}},
        },
    },
}
RTX = {"library": "TensorRT for RTX 1.7", "engines": [{"target": "sm_86", "products": {"int8": 2, "fp16": 1}}]}
HOST = {"batches": {"1": {"driver_calls": 4, "host_us": 30.5, "pooled": {"driver_calls": 5, "host_us": 31.5}}}}


def test_what_has_run_where_follows_from_the_results(benchmark, tmp_path: Path) -> None:
    table: ModuleType = benchmark("gpu_table")
    assert "**nowhere yet**" in table.where(RTX, HOST, tmp_path)
    assert not table.has_run_on_a_gpu(tmp_path)
    (tmp_path / "here").mkdir()
    for name, found in RUN.items():
        (tmp_path / "here" / f"{name}.json").write_text(json.dumps(found))
    said = table.where(RTX, HOST, tmp_path)
    assert "nowhere yet" not in said
    assert "| `on_gpu.sh` (here) | NVIDIA Test 9000 | resize, batch 1: 4.1 us; frames to readings, fp32" in said
    assert "1 engines for sm_86, 3 products as asked" in said
    assert "5 driver calls and 31.5 us of the host for a camera's frame; 4 and 30.5 us for another array" in said
    assert table.has_run_on_a_gpu(tmp_path)
    emulated = json.loads(json.dumps(RUN).replace("NVIDIA Test 9000", "Emulated GPU"))
    for name, found in emulated.items():
        (tmp_path / "here" / f"{name}.json").write_text(json.dumps(found))
    assert "nowhere yet" in table.where(RTX, HOST, tmp_path)


def test_readme_and_docs_say_whether_anything_has_run_on_a_gpu(benchmark) -> None:
    has_run = benchmark("gpu_table").has_run_on_a_gpu()
    for page, sentence in {
        "README.md": "Nothing has run on an NVIDIA GPU yet",
        "docs/nvidia.md": "None of it has run on a Jetson or on any NVIDIA GPU yet",
    }.items():
        text = " ".join((BENCHMARKS.parent / page).read_text().split())
        assert (sentence in text) == (not has_run), page
