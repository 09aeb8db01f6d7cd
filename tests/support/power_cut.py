"""Kills a process at every line of the code that works on files, and says what is left each time.

Run as a program of its own: forking needs one without threads. It prints one JSON object for each kill.

    python power_cut.py FOLDER promote|rollback EVERY
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from edgead.bundle import Bundle
from edgead.stream.audit import AuditLog
from edgead.stream.promotion import Versions

WATCHED = ("stream/promotion.py", "edgead/files.py", "stream/audit.py")


def versions(folder: Path) -> Versions:
    return Versions(folder / "station.edgead", AuditLog(folder / "audit.jsonl", "cam"))


def change(folder: Path, what: str) -> None:
    with versions(folder) as one:
        if what == "promote":
            one.promote(folder / "new.edgead", "ada")
        else:
            one.rollback("ada")


def run(folder: Path, what: str, kill_at: int) -> tuple[bool, int]:
    """Make the change in another process that is killed at that line; whether it was, and the lines it went through."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
            nonlocal count
            if not frame.f_code.co_filename.endswith(WATCHED):
                return None
            if event == "line":
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        change(folder, what)
        sys.settrace(None)
        os.write(writing, str(count).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answers:
        told = answers.read()
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status), int(told or 0)


def look(folder: Path, before: str, after: str, what: str) -> dict[str, Any]:
    """What is in force after a kill; then the next command must find everything in order and go both ways."""
    now = Bundle.open(folder / "station.edgead").digest
    told: dict[str, Any] = {"whole": now in (before, after), "made": now == after}
    with versions(folder) as one:
        one.promote(folder / "third.edgead", "bob")
        one.rollback("bob")
    told["goes_back"] = Bundle.open(folder / "station.edgead").digest == now
    entries = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    mine = [entry for entry in entries if entry["who"] == "ada" and entry["what"] == what]
    told["audited"] = len(mine) == told["made"]
    left = [path.name for path in (*folder.glob(".*.tmp"), *(folder / "station.edgead.versions").glob(".*.tmp"))]
    told["clean"] = not left
    if not told["made"]:
        change(folder, what)
        told["again"] = Bundle.open(folder / "station.edgead").digest == after
    return told


def main(folder: Path, what: str, every: int) -> None:
    made = folder / "made"
    shutil.copytree(folder / "start", made)
    before = Bundle.open(made / "station.edgead").digest
    total = run(made, what, 0)[1]
    after = Bundle.open(made / "station.edgead").digest
    shutil.rmtree(made)
    for step in range(1, total + 1, every):
        shutil.copytree(folder / "start", made)
        killed, _ = run(made, what, step)
        print(json.dumps({"step": step, "of": total, "killed": killed, **look(made, before, after, what)}), flush=True)
        shutil.rmtree(made)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
