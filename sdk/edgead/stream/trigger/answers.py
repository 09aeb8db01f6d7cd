"""Makes the one result that answers a trigger out of what is known of its part; never OK where a frame is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgead.result import Result
from edgead.stream.aggregation import together
from edgead.stream.trigger.tracker import Outcome
from edgead.types import Frame, Verdict

Answer = tuple[int, Frame, Result]  # the camera's number, the frame that stands for the part, and the answer


def answer_of(
    outcome: Outcome, rule: str, size: tuple[int, int], invalid: Callable[[Frame, str], Result], camera: str = ""
) -> Answer:
    """The answer to a trigger.

    `rule` says which frames decide (see `VerdictAggregation`). Where there was no frame, `invalid` gives the result of
    a black one of `size` (H, W) of the `camera`: the picture of another part is never shown for it.
    """
    trigger = outcome.ticket.trigger
    if outcome.judged:
        frame, result = together([(frame, result) for _, frame, result in outcome.judged], rule, outcome.lacks)
        number = next(number for number, one, _ in outcome.judged if one is frame)
    else:
        black = np.zeros((*size, 3), np.uint8)
        frame, number = Frame(black, name="no picture", time=trigger.time, camera=camera, trigger=trigger.number), 0
        result = invalid(frame, outcome.lacks or outcome.late)
    result = _late(result, outcome.late) if outcome.late else result
    alone = len(outcome.judged) <= 1  # of one frame there is no vote
    extra = {name: value for name, value in result.extra.items() if not (alone and name == "votes")}
    return (
        number,
        frame,
        replace(
            result,
            trigger=trigger.number,
            part=trigger.part,
            recipe=trigger.recipe,
            answer=1e3 * (time.monotonic() - trigger.clock),
            reasons=(*result.reasons, *outcome.notes),
            extra=extra,
        ),
    )


def _late(result: Result, words: str) -> Result:
    """The result of a part whose frames were not all judged in time: NG where one says so, else LATE."""
    verdict = Verdict.NG if result.verdict is Verdict.NG else Verdict.LATE
    reasons = result.reasons if words in result.reasons else (*result.reasons, words)
    return replace(result, verdict=verdict, judged=result.judged or result.verdict, late=True, reasons=reasons)
