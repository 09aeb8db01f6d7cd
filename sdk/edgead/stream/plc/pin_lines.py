"""Output lines of a GPIO chip (libgpiod 2), driven by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import gpiod
from gpiod.line import Direction, Value

from edgead.stream.trigger.gpio import request_lines


def request_outputs(
    chip: str, pins: Mapping[str, int], active_low: Collection[str], first: Mapping[str, bool]
) -> Callable[[dict[str, bool]], None]:
    """Have the pins, driven to `first` from the first moment on; gives what drives them. Raises UsageError."""
    settings = {
        number: gpiod.LineSettings(
            direction=Direction.OUTPUT, active_low=name in active_low, output_value=_value(first[name])
        )
        for name, number in pins.items()
    }
    request = request_lines(Path(chip), settings, f"the pins of {chip}")

    def drive(levels: dict[str, bool]) -> None:
        request.set_values({pins[name]: _value(level) for name, level in levels.items()})

    return drive


def _value(level: bool) -> Value:
    return Value.ACTIVE if level else Value.INACTIVE
