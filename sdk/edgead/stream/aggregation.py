"""Aggregates several frames of one part to one verdict."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from edgead.errors import UsageError
from edgead.result import Result
from edgead.stream.parts import PartCounter
from edgead.types import Frame, Verdict

RULES = ("any", "majority")
_ORDER = (Verdict.OK, Verdict.REVIEW, Verdict.NG)  # from good to bad
_NUMBER = re.compile(r"[ _-]?\d+$")


@dataclass(frozen=True, slots=True)
class VerdictAggregation:
    """Which frames are of one part, and how they become one verdict.

    With `any` the worst frame decides; with `majority` a part is as bad as half of its frames or more say. A part that
    lacks a frame, or of which one is INVALID (with `majority` half), is INVALID unless it is NG.
    """

    frames: int = 1  # consecutive frames of a camera; 0: those whose names differ in their last number alone
    rule: str = "any"

    def __post_init__(self) -> None:
        if self.frames < 0 or self.rule not in RULES:
            raise UsageError(f"a vote takes a number of frames and one of {', '.join(RULES)}, not '{self.rule}'")


def part_of(name: str) -> str:
    """The part a file shows: its name without the last number, so that part7_1.png and part7_2.png are one part's."""
    path = PurePath(name)
    return str(path.with_name(_NUMBER.sub("", path.stem) or path.stem)) if path.stem else name


def decide(verdicts: list[Verdict], rule: str) -> Verdict:
    """One verdict for those of a part's frames; never empty.

    A frame that could not be judged may have shown what the others do not: with it a part is NG or INVALID.
    """
    ranks = sorted(_ORDER.index(verdict) for verdict in verdicts if verdict in _ORDER)
    unseen = len(verdicts) - len(ranks)
    if not ranks:
        return Verdict.INVALID
    if rule == "any":
        return _ORDER[ranks[-1]] if not unseen or ranks[-1] == len(_ORDER) - 1 else Verdict.INVALID
    found = _ORDER[ranks[len(ranks) // 2]]
    return found if found is Verdict.NG or 2 * unseen < len(verdicts) else Verdict.INVALID


class Aggregator:
    """The frames of one camera, put together to parts: results go in, and one comes out for each part."""

    def __init__(self, rule: VerdictAggregation) -> None:
        self._aggregation = rule
        self._counter = PartCounter(max(1, rule.frames))
        self._part: object = None
        self._frames: list[tuple[Frame, Result]] = []
        self._last = -1  # index of the frame before
        self._gap = False  # whether a frame is missing before the part's first, between parts that are told by name

    def add(self, frame: Frame, result: Result) -> list[tuple[Frame, Result]]:
        """Take a result, and give the parts that are complete or at their end, if any are."""
        if self._aggregation.frames == 1:
            return [(frame, result)]
        by_name = self._aggregation.frames == 0
        part: object = part_of(frame.name) if by_name else self._counter.of(frame)
        missing = by_name and frame.index > self._last + 1
        self._last = frame.index
        done = self._end(missing) if part != self._part else []
        self._gap = missing if part != self._part else self._gap or missing
        self._part = part
        self._frames.append((frame, result))
        return done + self._end() if len(self._frames) == self._aggregation.frames else done

    def close(self) -> list[tuple[Frame, Result]]:
        """The part that was begun, with the frames there were."""
        return self._end()

    def _end(self, missing: bool = False) -> list[tuple[Frame, Result]]:
        """The part at hand, if there is one; `missing` says that a frame is, which may have been of it."""
        frames, self._frames = self._frames, []
        if not frames:
            return []
        if most := self._aggregation.frames:
            lacks = f"{len(frames)} of its {most} frames" if len(frames) < most else ""
        else:
            lacks = f"{len(frames)} frames, and one beside them could not be read" if missing or self._gap else ""
        return [together(frames, self._aggregation.rule, lacks)]


def together(frames: Sequence[tuple[Frame, Result]], rule: str, lacks: str = "") -> tuple[Frame, Result]:
    """One result for the frames of a part, at least one: that of the worst, as old as the newest.

    `lacks` says in words which frames are missing: the part is then NG, where one frame says so, or INVALID.
    """
    frame, result = max(frames, key=lambda one: _badness(one[1]))
    verdicts = [one.verdict for _, one in frames]
    found = decide(verdicts, rule)
    extra = {**result.extra, "votes": {name.value: count for name, count in Counter(verdicts).items()}}
    verdict, reasons = found, result.reasons
    if lacks:
        verdict = Verdict.NG if Verdict.NG in verdicts else Verdict.INVALID
        reasons = (*reasons, f"the part is incomplete: there are {lacks}")
    elif found is Verdict.INVALID and result.verdict is not Verdict.INVALID:
        unseen = [words for _, one in frames if one.verdict is Verdict.INVALID for words in one.reasons]
        reasons = (*reasons, *dict.fromkeys(unseen))
    newest = frames[-1][1]
    judged = found if found is not verdict else None
    result = replace(result, age=newest.age, age_by=newest.age_by, reasons=reasons, extra=extra)
    return frame, replace(result, verdict=verdict, judged=judged)


def _badness(result: Result) -> tuple[bool, bool, float]:
    """Which frame stands for a part: one that was judged, a score that is no number first, then the highest."""
    judged = result.verdict is not Verdict.INVALID
    no_number = result.score != result.score
    return judged, judged and no_number, 0.0 if no_number else result.score
