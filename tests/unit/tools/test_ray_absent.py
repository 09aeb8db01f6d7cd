"""Commands that work on Ray say in one line what brings it, where it is not installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import tiny

from edgead import registry


@pytest.fixture(autouse=True)
def _absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray" or ".distributed." in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "ray" else find_spec(name))


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "tiny.edgead", "data", "--parquet", "out"),
        ("eval", "tiny.edgead", "data", "--parquet", "out"),
        ("build", "--many", "products.yaml"),
        ("sweep", "data", "--workers", "2"),
        ("serve", "tiny.edgead", "--replicas", "1-2"),
    ],
)
def test_one_line_says_what_to_install(edgead, tiny_bundle: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "tiny.edgead").write_bytes(tiny_bundle.read_bytes())
    (tmp_path / "data").mkdir()
    cv2.imwrite(str(tmp_path / "data/0.png"), tiny.good())
    code, out, error = edgead(*command)
    assert (code, out) == (2, "")
    said = error.strip().splitlines()
    assert len(said) == 1
    assert "pip install 'edgead[ray]'" in said[0]
    assert "needs the package" in said[0]
