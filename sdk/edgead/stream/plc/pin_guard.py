"""A process of its own that holds the output pins: whatever becomes of the line, they are driven to reject.

It reads one JSON object a line from standard input, pin names to true or false, and drives the pins so. Without a
line for `SILENCE_S`, or at the end of the input, Reject and Fault go on and every other goes off.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Mapping
from typing import Any

SILENCE_S = 0.2
SAFE = {"reject": True, "fault": True}  # every other is off


def safe_levels(pins: Mapping[str, int]) -> dict[str, bool]:
    """The levels of the pins while nobody says any."""
    return {name: SAFE.get(name, False) for name in pins}


def read_levels(line: bytes, pins: Mapping[str, int]) -> dict[str, bool] | None:
    """The levels in a line; None for one that cannot be read."""
    try:
        said = json.loads(line)
        return {name: bool(said[name]) for name in pins}
    except (ValueError, KeyError, TypeError):
        return None


def hold(pins: Mapping[str, int], drive: Callable[[dict[str, bool]], None], source: int) -> None:
    """Drive the pins by what comes from the file descriptor `source`, until it ends."""
    drive(safe_levels(pins))
    rest = b""
    while True:
        there, _, _ = select.select([source], [], [], SILENCE_S)
        if not there:
            drive(safe_levels(pins))
            continue
        data = os.read(source, 65536)
        if not data:
            drive(safe_levels(pins))
            return
        *lines, rest = (rest + data).split(b"\n")
        levels = read_levels(lines[-1], pins) if lines else None
        drive(levels if levels is not None else safe_levels(pins))


def main() -> None:
    """Hold the pins of the JSON configuration in the first argument; says `ready`, or why it cannot, on its output."""
    from edgead.errors import EdgeadError
    from edgead.stream.plc.pin_lines import request_outputs

    config: dict[str, Any] = json.loads(sys.argv[1])
    try:
        drive = request_outputs(config["chip"], config["pins"], config["active_low"], safe_levels(config["pins"]))
    except EdgeadError as error:
        print(error, flush=True)
        return
    print("ready", flush=True)
    hold(config["pins"], drive, sys.stdin.fileno())


if __name__ == "__main__":
    main()
