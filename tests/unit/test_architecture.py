"""The rules of the architecture that a tool can check: who imports whom, how long and how branched code may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import edgead.engines
import edgead.stream.sinks
import edgead.stream.sources
from edgead.cli.commands import COMMANDS
from edgead.stream.trigger import TRIGGERS
from edgead_tools.methods import METHODS

ROOT = Path(__file__).parents[2]
FOLDERS = {"edgead": "sdk", "edgead_calibration": "calibration", "edgead_tools": "tools"}
DEVICE = {"cv2", "msgspec", "numpy", "rich", "typer", "yaml", "edgead"}
GRAPH_FILES = ("activations", "fp16", "layers", "networks", "ranges", "rules", "search", "statistics")
ALLOWED = {  # what a file may import beyond the standard library and its package's
    "sdk/edgead/bundle/signing.py": {"cryptography"},
    "sdk/edgead/fleet/broker.py": {"paho"},
    "sdk/edgead/images.py": {"simplejpeg"},
    "sdk/edgead/kserve/grpc.py": {"tritonclient"},
    "sdk/edgead/serving/app.py": {"starlette"},
    "sdk/edgead/serving/triton.py": {"triton_python_backend_utils"},  # of the process that Triton makes
    "sdk/edgead/updates/fetch.py": {"tuf"},
    "sdk/edgead/updates/pull.py": {"tuf"},
    "sdk/edgead/updates/repository.py": {"cryptography", "securesystemslib", "tuf"},
    "sdk/edgead/cuda/context.py": {"pycuda"},
    "sdk/edgead/engines/onnx.py": {"onnxruntime"},
    "sdk/edgead/engines/openvino.py": {"openvino"},
    "sdk/edgead/stream/sinks/mqtt.py": {"paho"},
    "sdk/edgead/stream/sources/genicam.py": {"gi"},
    "sdk/edgead/stream/sources/gentl.py": {"genicam", "harvesters"},
    "sdk/edgead/stream/plc/modbus.py": {"pymodbus"},
    "sdk/edgead/stream/plc/modbus_link.py": {"pymodbus"},
    "sdk/edgead/stream/plc/pin_lines.py": {"gpiod"},
    "sdk/edgead/stream/plc/opcua.py": {"asyncua"},
    "sdk/edgead/stream/plc/opcua_station.py": {"asyncua"},
    "sdk/edgead/stream/trigger/gpio.py": {"gpiod"},
    "sdk/edgead/stream/trigger/modbus.py": {"pymodbus"},
    "sdk/edgead/stream/trigger/mqtt.py": {"paho"},
    "sdk/edgead/web/pages.py": {"starlette"},
    "sdk/edgead/web/part_pages.py": {"starlette"},
    "sdk/edgead/web/area_pages.py": {"starlette"},
    "sdk/edgead/web/bundle_pages.py": {"starlette"},
    "sdk/edgead/web/review_pages.py": {"starlette"},
    "sdk/edgead/web/site.py": {"starlette"},
    "sdk/edgead/web/connections.py": {"uvicorn"},
    "sdk/edgead/web/server.py": {"uvicorn"},
    **{f"calibration/edgead_calibration/{name}.py": {"onnx", "onnxruntime"} for name in GRAPH_FILES},
}
HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "asyncua",
    "genicam",
    "gpiod",
    "harvesters",
    "paho",
    "cryptography",
    "pymodbus",
    "tuf",
    "tritonclient",
    "starlette",
    "uvicorn",
    "tensorrt",
    "pycuda",
    "scipy",
    "sklearn",
    "edgead_tools",
    "edgead_calibration",
)


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The top-level packages a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("folder", ["sdk", "calibration"])
def test_who_may_import_whom(folder: str) -> None:
    allowed = DEVICE | ({"edgead_calibration"} if folder == "calibration" else set()) | set(sys.stdlib_module_names)
    for path in files(folder):
        here = path.relative_to(ROOT).as_posix()
        extra = ALLOWED.get(here, set())
        odd = set(imported(path)) - allowed - extra
        assert not odd, f"{here} imports {odd}"


def test_inside_the_device_arrows_point_one_way() -> None:
    order = [
        "errors",
        "types",
        "config",
        "bundle",
        "exposition",
        "fleet",
        "ops",
        "overlay",
        "result",
        "images",
        "review",
        "verify",
        "kserve",
        "cuda",
        "tensorrt",
        "engines",
        "reader",
        "detector",
        "web",
        "serving",
        "stream",
        "updates",
        "bench",
        "cli",
    ]
    exceptions = {("detector", "stream")}  # inside a function: Detector.stream
    for rank, name in enumerate(order):
        folder = ROOT / "sdk/edgead" / name
        for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgead."):
                    other = str(node.module).split(".")[1]
                    if other in order and (name, other) not in exceptions:
                        assert order.index(other) <= rank, f"{path} imports edgead.{other}"


def test_sources_and_sinks_know_nobody() -> None:
    known = {
        *(f"edgead.{name}" for name in ("closing", "errors", "files", "frame_pool", "images", "listing", "ops")),
        *(f"edgead.{name}" for name in ("registry", "result", "types", "wording")),
    }
    packages = {
        "sources": "edgead.stream.sources",
        "sinks": ("edgead.review", "edgead.stream.sinks", "edgead.stream.status", "edgead.web"),
    }
    for kind in ("sources", "sinks"):
        for path in files(f"sdk/edgead/stream/{kind}"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgead"):
                    assert node.module in known or str(node.module).startswith(packages[kind]), path


@pytest.mark.parametrize(
    "module", ["edgead", "edgead.cli", "edgead.stream.pipeline", "edgead.verify", "edgead.cuda.compile"]
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in files(*FOLDERS.values(), "tests")}
    assert {str(path): length for path, length in lengths.items() if length > 350} == {}


def modules() -> dict[str, Path]:
    """The modules of the three packages by name."""
    found = {}
    for folder in FOLDERS.values():
        for path in files(folder):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports inside functions count too."""
    known = modules()
    graph = {name: set(_imports(path, known)) - {name} for name, path in known.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError with the modules of a cycle


def _imports(path: Path, known: Collection[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from (name for name in (full if full in known else str(node.module),) if name in known)


def test_functions_are_short() -> None:
    lengths = {
        f"{path}:{node.name}": node.end_lineno - node.lineno + 1
        for path in files(*FOLDERS.values())
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_functions_branch_little() -> None:
    command = ["ruff", "check", "--isolated", "--select", "C901", "--config", "lint.mccabe.max-complexity = 15"]
    done = subprocess.run(
        [sys.executable, "-m", *command, *FOLDERS.values()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_table_names_what_exists() -> None:
    tables = [edgead.engines.ENGINES, edgead.stream.sources.SOURCES, edgead.stream.sinks.SINKS, TRIGGERS, METHODS]
    entries = [entry for table in tables for entry in table.builtin.values()] + list(COMMANDS.values())
    for target in [entry.target for entry in entries]:
        module, _, name = target.partition(":")
        path = ROOT / FOLDERS[module.partition(".")[0]] / (module.replace(".", "/") + ".py")
        body = ast.parse(path.read_text()).body
        defined = {getattr(node, "name", None) for node in body}
        defined |= {
            name.id
            for node in body
            if isinstance(node, ast.Assign)
            for name in node.targets
            if isinstance(name, ast.Name)
        }
        assert name in defined, target


def test_every_file_says_what_it_is() -> None:
    missing = [
        str(path) for path in files(*FOLDERS.values(), "tests") if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert missing == []


def test_one_reader_reads_all_yaml() -> None:
    """It is safe, and refuses keys that stand twice: a camera named twice was dropped without a word."""
    sources = {path.relative_to(ROOT).as_posix(): path.read_text() for path in files(*FOLDERS.values())}
    readers = [name for name, text in sources.items() if re.search(r"\byaml\.(safe_)?load|\byaml\.\w*parse", text)]
    assert readers == ["sdk/edgead/config/reading.py"]
