"""The contract in the documentation is the one that the code keeps."""

from __future__ import annotations

from pathlib import Path

from edgead.cli.plc import map_lines, node_lines, step_lines

PAGE = (Path(__file__).parents[3] / "docs/plc.md").read_text(encoding="utf-8")


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    for lines in (map_lines(), node_lines(), step_lines()):
        assert "\n".join(lines) in PAGE
