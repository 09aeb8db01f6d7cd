"""Several frames of one part, one verdict."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePath

from edgead.errors import UsageError
from edgead.types import Frame, Result, Verdict

RULES = ("any", "majority")
_ORDER = (Verdict.OK, Verdict.REVIEW, Verdict.NG)  # from good to bad
_NUMBER = re.compile(r"[ _-]?\d+$")


@dataclass(frozen=True, slots=True)
class VerdictAggregation:
    """Which frames are of one part, and how they become one verdict.

    With `any` the worst frame decides; with `majority` a part is as bad as half of its frames or more say. Frames
    that are INVALID do not vote; a part with no other is INVALID.
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
    """One verdict for those of a part's frames; never empty."""
    ranks = sorted(_ORDER.index(verdict) for verdict in verdicts if verdict in _ORDER)
    if not ranks:
        return Verdict.INVALID
    return _ORDER[ranks[-1] if rule == "any" else ranks[len(ranks) // 2]]


class Aggregator:
    """The votes of one camera: results go in, and one comes out for each part."""

    def __init__(self, vote: VerdictAggregation) -> None:
        self._vote = vote
        self._part = ""
        self._verdicts: list[Verdict] = []
        self._worst: tuple[Frame, Result] | None = None

    def add(self, frame: Frame, result: Result) -> list[tuple[Frame, Result]]:
        """Take a result, and give the part that is complete, if one is."""
        part = part_of(frame.name) if self._vote.frames == 0 else ""
        done = self.close() if part != self._part else []
        self._part = part
        self._verdicts.append(result.verdict)
        if self._worst is None or _badness(result) > _badness(self._worst[1]):
            self._worst = frame, result
        return done + self.close() if len(self._verdicts) == self._vote.frames else done

    def close(self) -> list[tuple[Frame, Result]]:
        """The part that was begun, with the frames there were."""
        worst, verdicts = self._worst, self._verdicts
        self._worst, self._verdicts = None, []
        if worst is None:
            return []
        frame, result = worst
        votes = {verdict.value: count for verdict, count in Counter(verdicts).items()}
        extra = {**result.extra, "votes": votes}
        return [(frame, replace(result, verdict=decide(verdicts, self._vote.rule), extra=extra))]


def _badness(result: Result) -> tuple[bool, bool, float]:
    """Which frame stands for a part: one that was judged, a score that is no number first, then the highest."""
    judged = result.verdict is not Verdict.INVALID
    no_number = result.score != result.score
    return judged, judged and no_number, 0.0 if no_number else result.score
