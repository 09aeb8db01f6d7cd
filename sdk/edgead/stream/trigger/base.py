"""Defines what a trigger is, and what gives them: one part is before the camera now, and wants one verdict."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from edgead.closing import Closing
from edgead.errors import UsageError
from edgead.result import Result
from edgead.types import Frame

LONGEST_PART = 32  # bytes of a part's id, in ASCII: what fits into 16 registers


@dataclass(frozen=True, slots=True)
class Trigger:
    """One part that came before the camera."""

    number: int  # in the run, from 1: it rises by one and never repeats
    clock: float  # time.monotonic() when the part was there
    time: float  # seconds since the epoch
    source: str = ""  # what gave it, in words
    part: str = ""  # the part's id, where it was given
    recipe: int = 0  # number of the recipe that its frames are judged with; 0 where there are none


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A trigger that was taken, and the one answer to it, which comes in any case."""

    trigger: Trigger
    answer: Future[Result] = field(default_factory=Future)


class TriggerControl(Protocol):
    """The line as a trigger source sees it. Every method may be called from any thread and returns at once."""

    def fire(self, source: str, part: str = "", clock: float | None = None) -> Ticket:
        """A part is there, at `clock` (time.monotonic()) where that is known better than now.

        Raises UsageError for a part's id that cannot be one.
        """
        ...


class TriggerSource(Closing):
    """Fires triggers, from a thread of its own."""

    trouble: str = ""  # why it can give no trigger now, in words; "" while it can

    @abstractmethod
    def start(self, control: TriggerControl) -> None:
        """Fire from now on; called once."""

    def watch(self, camera: str, frame: Frame) -> None:
        """Look at a frame before it is matched to triggers; called by the thread that reads the camera."""


def checked_part(part: str) -> str:
    """A part's id as it is kept; raises UsageError for one that is too long or not printable ASCII."""
    text = part.strip("\0 \t\r\n")
    if len(text) > LONGEST_PART or not (text.isascii() and text.isprintable()):
        raise UsageError(f"a part's id has at most {LONGEST_PART} printable ASCII characters: {part[:40]!r} has not")
    return text
