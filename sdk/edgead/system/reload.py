"""Tells a station that its bundle is another: runs the operator's own command for that."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from edgead.errors import EdgeadError

RELOAD_S = 60.0


def reload_station(command: Sequence[str]) -> None:
    """Run the command that has the station read its bundle again; nothing without one. Raises EdgeadError where it
    fails."""
    if not command:
        return
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RELOAD_S, check=False)  # noqa: S603 - the operator's own
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EdgeadError(f"the station could not be told by '{' '.join(command)}': {error}") from error
    if done.returncode:
        raise EdgeadError(f"'{' '.join(command)}' ended with {done.returncode}: {done.stderr.strip()[-300:]}")
