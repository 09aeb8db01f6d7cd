"""The field's standard words: no metaphors, and none of the private names that code and documentation once had."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sdk", "calibration", "tools")
METAPHORS = re.compile(
    r"\b(?:doors?|houses?|rooms?|corridors?|roads?|bells?|inbox(?:es)?|ballots?|wish(?:es|ed)?|heed(?:s|ed)?|"
    r"dut(?:y|ies)|couriers?|for ever|call it a day|put back)\b",
    re.IGNORECASE,
)
ALLOWED = {key: {"wishes"} for key in ("sdk/edgead/tensorrt/metadata.py", "tests/cuda/test_tensorrt_prepare.py")}
FORMER = {  # the name of edgead 0.1, and the standard one
    "Line": "Pipeline",
    "Judge": "InferenceWorker",
    "Feed": "CaptureThread",
    "Inbox": "FrameQueue",
    "Tray": "FrameQueue",
    "Outlet": "SinkWorker",
    "Vote": "VerdictAggregation",
    "Ballot": "Aggregator",
    "View": "RoiMask",
    "Area": "Roi",
    "Painted": "Mask",
    "Signs": "ImageStats",
    "troubles": "health_issues",
    "Show": "ConsoleStatus",
    "run_until_told": "run_with_signals",
    "overtakes": "drops_oldest",
    "Courier": "DeliveryWorker",
    "Bell": "AsyncNotifier",
    "Board": "DashboardState",
    "Guard": "AuthMiddleware",
    "Keep": "EventRecorder",
    "Mark": "Event",
    "Mirror": "HostDeviceBuffer",
    "own": "on_close",
    "pictures": "frame_buffer",
    "told": "kernel_args",
    "Wish": "LayerPrecision",
    "unmet": "precision_mismatches",
    "Card": "EngineMetadata",
    "Choice": "BuildOptions",
    "road": "builder",
    "certify": "validate_golden",
    "trial": "probe",
    "islands": "fp32_nodes",
    "kept": "excluded",
    "put_back": "reverted",
    "sketch": "draft",
    "Maker": "QuantizedModelFactory",
    "tapped": "collect_activations",
    "as_written": "unoptimized",
    "repair": "mixed_precision_search",
    "Watcher": "Reporter",
    "rooms": "plugins",
    "gaps": "requirements",
    "Subject": "BenchmarkEntry",
    "segmented": "component_mask",
    "shake": "jitter",
    "cut": "finish_early",
    "complain": "raise_on_failures",
    "Frames": "FrameBuffer",
    "Statistics": "FeatureStatistics",
}
ORDINARY = {  # what some of these words mean besides, where they are in use
    "area": "of a surface, under a curve",
    "board": "of a Jetson",
    "frames": "several Frame",
    "judge": "the option of that name",
    "kept": "what was not thrown away",
    "line": "of a text",
    "show": "Result.show, as of any picture",
    "statistics": "figures of a distribution",
    "vote": "the option of that name",
}
ONE_MEANING = ("Gpu", "Reading", "Statistics", "describe", "judge", "percentiles", "record", "repair", "spread")
PAGES = [
    path.relative_to(ROOT).as_posix()
    for pattern in (
        *(f"{package}/**/*.{kind}" for package in PACKAGES for kind in ("py", "cu", "js", "html", "css", "yaml")),
        *("tests/**/*.py", "benchmarks/*.py", "examples/**/*.py", "docs/**/*.md", "examples/**/*.md", "*.md"),
    )
    for path in sorted(ROOT.glob(pattern))
]


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "benchmarks", "examples", "docs", ""])
def test_words_are_the_fields_own(folder: str) -> None:
    pages = [page for page in PAGES if page.partition("/")[0] == folder or (not folder and "/" not in page)]
    assert pages
    found = {
        page: sorted(odd)
        for page in pages
        if page != "tests/unit/test_words.py"
        if (odd := set(METAPHORS.findall((ROOT / page).read_text(encoding="utf-8"))) - ALLOWED.get(page, set()))
    }
    assert found == {}


def definitions(package: str) -> Iterator[tuple[str, str, str]]:
    """The place, the kind and the name of all that a package defines for others: modules, classes, their fields,
    functions and their parameters."""
    for path in sorted((ROOT / package).rglob("*.py")):
        here = path.relative_to(ROOT).as_posix()
        yield here, "module", path.stem
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for kind, name in _named(node):
                yield f"{here}:{getattr(node, 'lineno', 0)}", kind, name.strip("_")


def _named(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.ClassDef):
        yield "class", node.name
        fields = (one.target for one in node.body if isinstance(one, ast.AnnAssign))
        yield from (("field", one.id) for one in fields if isinstance(one, ast.Name))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield "function", node.name
    elif isinstance(node, ast.arg):
        yield "parameter", node.arg


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_defined_by_a_name_that_has_a_standard_one(package: str) -> None:
    former = {name.lower(): now for name, now in FORMER.items()}
    odd = [
        f"{place}: {kind} {name}; the word is {former[name.lower()]}"
        for place, kind, name in definitions(package)
        if name.lower() in former and (kind == "class" or name not in ORDINARY)
    ]
    assert odd == []


def test_names_that_once_had_several_meanings_have_one() -> None:
    names = Counter(
        name for package in PACKAGES for _, kind, name in definitions(package) if kind in ("class", "function")
    )
    assert {name: names[name] for name in ONE_MEANING if names[name] > 1} == {}
