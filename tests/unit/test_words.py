"""The field's standard words: no metaphors, and none of the private names that code and documentation once had."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
METAPHORS = (
    "doors?|houses?|corridors?|roads?|bells?|inbox|ballots?|wishes|wished|heed(?:s|ed)?|dut(?:y|ies)|couriers?|"
    "for ever|call it a day|put back"
)
NAMES = (  # of earlier versions, for what now has a standard one
    "Ballot|Inbox|Outlet|Courier|AsyncBell|Mirror|Gpu\\.own|Wish|Watcher|run_until_told|overtakes|as_written|"
    "kept_by_wish|certify|_certify|segmented_foreground|unmet|islands"
)
WORDS = re.compile(rf"\b(?:{METAPHORS}|{NAMES})\b")
ALLOWED = {"sdk/edgead/tensorrt/metadata.py": {"wishes"}}  # the key that files of edgead 0.1 have
PAGES = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("sdk/**/*.py", "calibration/**/*.py", "tools/**/*.py", "benchmarks/*.py", "docs/**/*.md", "*.md")
    for path in sorted(ROOT.glob(pattern))
]


@pytest.mark.parametrize("folder", ["sdk", "calibration", "tools", "benchmarks", "docs", ""])
def test_words_are_the_fields_own(folder: str) -> None:
    pages = [page for page in PAGES if page.partition("/")[0] == folder or (not folder and "/" not in page)]
    assert pages
    found = {
        page: sorted(odd)
        for page in pages
        if (odd := set(WORDS.findall((ROOT / page).read_text(encoding="utf-8"))) - ALLOWED.get(page, set()))
    }
    assert found == {}


CLASSES = frozenset(
    [
        "Ballot",
        "Bell",
        "Board",
        "Courier",
        "Feed",
        "Guard",
        "Inbox",
        "Judge",
        "Keep",
        "Kept",
        "Line",
        "Mark",
        "Maker",
        "Mirror",
        "Outlet",
        "Painted",
        "Show",
        "Signs",
        "Statistics",
        "Subject",
        "Tray",
        "View",
        "Vote",
        "Watcher",
        "Wish",
    ]
)
FUNCTIONS = frozenset(
    [
        "as_written",
        "certify",
        "complain",
        "gaps",
        "islands",
        "overtakes",
        "put_back",
        "run_until_told",
        "segmented",
        "shake",
        "tapped",
        "troubles",
        "unmet",
    ]
)


@pytest.mark.parametrize("package", ["sdk", "calibration", "tools"])
def test_nothing_is_defined_by_a_name_that_has_a_standard_one(package: str) -> None:
    odd = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ClassDef) and node.name.strip("_") in CLASSES)
        or (isinstance(node, ast.FunctionDef) and node.name.strip("_") in FUNCTIONS)
    ]
    assert odd == []
