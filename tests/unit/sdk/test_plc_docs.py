"""The contract in the documentation is the one that the code keeps."""

from __future__ import annotations

import re
from pathlib import Path

from edgead.cli.plc import map_lines, node_lines, step_lines
from edgead.stream.plc import registers

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "plc.md").read_text(encoding="utf-8")
PROGRAMS = (DOCS / "plc-programs.md").read_text(encoding="utf-8")


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    for lines in (map_lines(), node_lines(), step_lines()):
        assert "\n".join(lines) in PAGE


def test_the_programs_read_and_write_what_the_map_has() -> None:
    """The offsets that the snippets use, by name."""
    rows = {row.name: row for row in registers.REGISTERS}
    offset = {name: row.address - registers.STATUS for name, row in rows.items()}
    assert (offset["status"], offset["result"], offset["heartbeat_count"]) == (0, 1, 3)
    assert (offset["part"], rows["part"].size) == (14, 16)
    assert f"reads {registers.TOTAL_WORDS - registers.STATUS} registers from {registers.STATUS} on" in PROGRAMS
    assert f"writes {registers.WRITTEN_WORDS} from 0 on" in PROGRAMS
    assert "ARRAY[0..43]" in PROGRAMS
    assert rows["part_wanted"].address == 2
    assert re.search(r"Command\[2\.\.17\]", PROGRAMS)
    bits = registers.STATUS_BITS
    assert (bits[0], bits[2], bits[3]) == ("ready", "done", "fault")
