"""The parts between the camera and the ejector: each is decided when it gets there, and not passed unless it is OK."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MOST = 256  # parts between camera and ejector


@dataclass(slots=True)
class _Travelling:
    trigger: int
    at: float  # position of the ejector for this part
    ok: bool = False
    doubted: bool = False  # where it is was not known for a time: it does not pass


class ShiftRegister:
    """Positions are seconds, or counts of an encoder that only rise."""

    def __init__(self, distance: float) -> None:
        """`distance` from the camera to the ejector, in the units of the positions."""
        self._distance = distance
        self._parts: deque[_Travelling] = deque()

    def triggered(self, trigger: int, position: float) -> bool:
        """A part is before the camera; false where `MOST` travel already, and this one is not followed."""
        if len(self._parts) == MOST:
            return False
        self._parts.append(_Travelling(trigger, position + self._distance))
        return True

    def doubt(self) -> None:
        """The position cannot be had: no part that travels now passes, whatever its result."""
        for part in self._parts:
            part.doubted = True

    def answered(self, trigger: int, *, ok: bool) -> None:
        """Its result is there; one that has passed the ejector already is forgotten."""
        for part in self._parts:
            if part.trigger == trigger:
                part.ok = ok

    def arrived(self, position: float) -> list[tuple[int, bool]]:
        """The parts that have come to the ejector, and whether each is OK; those without a result are not."""
        found = []
        while self._parts and self._parts[0].at <= position:
            part = self._parts.popleft()
            found.append((part.trigger, part.ok and not part.doubted))
        return found


class Unwrapped:
    """A counter of 16 bits that begins again at 0, as one that only rises."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._total = 0

    def of(self, count: int) -> int:
        """The counts so far; a step of more than half the range is one backwards, and counts as none."""
        step = 0 if self._last is None else (count - self._last) % 65536
        self._last = count
        self._total += step if step < 32768 else 0
        return self._total
