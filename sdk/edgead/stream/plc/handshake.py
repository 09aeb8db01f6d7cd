"""The contract with the controller as data, and the one state machine that keeps it. Pure: no clock, no thread.

The controller raises Trigger while Ready is on; edgead answers with Busy, then with Done and the result; the controller
raises Ack, edgead takes Done away; the controller lowers Trigger and Ack, edgead is Ready again. `docs/plc.md` shows
the tables that stand here.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum

from edgead.result import Result
from edgead.types import Verdict

WAITING = 16  # answers that may wait for the controller's acknowledgement


class Phase(str, Enum):
    """Where the handshake stands."""

    IDLE = "idle"  # no part is before the camera
    BUSY = "busy"  # a trigger was taken and is not answered yet
    DONE = "done"  # the result stands there and waits for Ack
    RELEASE = "release"  # acknowledged: waits for Trigger and Ack to go low


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the contract: in `phase`, `event` leads to `next`."""

    phase: Phase
    event: str
    next: Phase
    words: str


STEPS = (
    Step(Phase.IDLE, "trigger", Phase.BUSY, "a trigger was taken: Busy on, Ready off"),
    Step(Phase.BUSY, "answer", Phase.DONE, "the result is written first, then Done on, Busy off"),
    Step(Phase.DONE, "ack", Phase.RELEASE, "the controller raised Ack: Done off"),
    Step(Phase.RELEASE, "released", Phase.IDLE, "the controller lowered Trigger and Ack: Ready on"),
    Step(Phase.RELEASE, "more answers", Phase.DONE, "a further part was answered meanwhile: its result, Done on"),
    Step(Phase.RELEASE, "more triggers", Phase.BUSY, "a further part is being judged: Busy on"),
)
_NEXT = {(step.phase, step.event): step.next for step in STEPS}


class ResultWord(IntEnum):
    """A part's result as the controller reads it. Only OK lets a part pass."""

    NONE = 0
    OK = 1
    NG = 2
    REVIEW = 3
    INVALID = 4
    LATE = 5


class Fault(IntEnum):
    """What is wrong, by code; the first that holds is shown, Ready is off and Reject is on as long as one does."""

    NONE = 0
    STOPPED = 1
    CAMERA_LOST = 2
    OVERDUE = 3
    NO_ACK = 4
    NOT_READY = 5
    UNKNOWN_RECIPE = 6
    BAD_PART = 7
    SECOND_MASTER = 8
    OVERFLOW = 9
    OUTPUTS = 10
    DRIFT = 11


FAULTS = {  # in words, and what ends it; those of HELD hold as long as their cause does
    Fault.NONE: ("nothing is wrong", ""),
    Fault.STOPPED: ("the line does not judge: it starts, ends, or has failed", "by itself, once it judges"),
    Fault.CAMERA_LOST: ("a camera is lost", "by itself, once every camera is back"),
    Fault.OVERDUE: ("a frame is not judged though it is due: the engine hangs or is too slow", "by itself, once it is"),
    Fault.NO_ACK: ("a result was not acknowledged in time", "Ack, or Reset, which drops the result"),
    Fault.NOT_READY: ("Trigger was raised while Ready was off: no part was taken", "Trigger low, or Reset"),
    Fault.UNKNOWN_RECIPE: ("the recipe number is unknown: the one before stays", "another number, or Reset"),
    Fault.BAD_PART: ("the part's id is not printable ASCII: no part was taken", "Trigger low, or Reset"),
    Fault.SECOND_MASTER: ("a second master wrote: it was refused", "Reset, or the next trigger of the first"),
    Fault.OVERFLOW: (f"more than {WAITING} results wait for Ack: the newest was dropped", "Reset"),
    Fault.OUTPUTS: (
        "an output pin cannot be driven, or the way of a part to its ejector is not known",
        "by itself, once the encoder is read again; else a restart",
    ),
    Fault.DRIFT: ("good parts score differently than at build time", "by itself, once the drift is over"),
}
HELD = frozenset({Fault.STOPPED, Fault.CAMERA_LOST, Fault.OVERDUE, Fault.OUTPUTS, Fault.DRIFT})


@dataclass(frozen=True, slots=True)
class PartAnswer:
    """A part's result as the controller reads it."""

    word: ResultWord = ResultWord.NONE
    score: float = 0.0  # calibrated: 1.0 is the bundle's threshold; -1.0 where there is none
    x: int = 0  # of the strongest region, in pixels of the frame; all 0 where there is none
    y: int = 0
    width: int = 0
    height: int = 0
    part: str = ""
    trigger: int = 0  # number of the trigger in the run
    recipe: int = 0


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the controller says."""

    trigger: bool = False
    ack: bool = False
    reset: bool = False
    part: str = ""
    recipe: int = 0  # 0: as it is
    bad_part: bool = False  # what stands for the part's id cannot be one


@dataclass(frozen=True, slots=True)
class Handshake:
    """The whole state; every event gives a new one."""

    ack: bool = True  # whether the controller acknowledges results; else each stands there until the next trigger
    phase: Phase = Phase.IDLE
    causes: frozenset[Fault] = frozenset({Fault.STOPPED})  # those of HELD that hold now
    notice: Fault = Fault.NONE  # what was wrong once, until it is acknowledged
    inputs: Inputs = Inputs()
    open: int = 0  # triggers that are not answered yet
    answer: PartAnswer = PartAnswer()
    waiting: tuple[PartAnswer, ...] = ()  # behind `answer`, for Ack
    since: float = 0.0  # when the phase began, in seconds
    recipe: int = 0
    counts: dict[ResultWord, int] = field(default_factory=lambda: dict.fromkeys(ResultWord, 0))
    triggers: int = 0
    refused: int = 0  # raises of Trigger while Ready was off

    @property
    def fault(self) -> Fault:
        """The first fault that holds."""
        return min(self.causes, default=self.notice) or self.notice

    @property
    def free(self) -> bool:
        """Whether no part is at hand."""
        return self.phase is Phase.IDLE or (self.phase is Phase.DONE and not self.ack)

    @property
    def ready(self) -> bool:
        """Whether a trigger may come: Trigger and Ack are low, nothing is wrong and no part is at hand."""
        return self.free and not self.fault and not self.inputs.trigger and not self.inputs.ack

    @property
    def busy(self) -> bool:
        return self.phase is Phase.BUSY

    @property
    def done(self) -> bool:
        return self.phase is Phase.DONE

    @property
    def reject(self) -> bool:
        """Whether what passes now is to be rejected: always, but for a part whose result stands there and is OK."""
        return not (self.done and self.answer.word is ResultWord.OK and not self.causes)


def answer_of(result: Result, recipe: int) -> PartAnswer:
    """A result as the controller reads it."""
    strongest = max(result.regions, key=lambda region: region.score, default=None)
    box = (0, 0, 0, 0) if strongest is None else (strongest.x, strongest.y, strongest.width, strongest.height)
    word = ResultWord[result.verdict.value]
    if result.late and result.verdict is Verdict.INVALID:
        word = ResultWord.LATE
    score = float(result.score) if math.isfinite(result.score) else -1.0
    return PartAnswer(word, score, *box, part=result.part, trigger=result.trigger, recipe=recipe)


def opened(state: Handshake, now: float) -> Handshake:
    """A trigger was taken, wherever it came from."""
    state = replace(state, open=state.open + 1, triggers=state.triggers + 1)
    if state.notice is Fault.SECOND_MASTER:
        state = replace(state, notice=Fault.NONE)
    return _to(state, Phase.BUSY, now) if state.free else state


def answered(state: Handshake, answer: PartAnswer, now: float) -> Handshake:
    """A trigger was answered."""
    counts = {**state.counts, answer.word: state.counts[answer.word] + 1}
    state = replace(state, open=max(0, state.open - 1), counts=counts)
    if not state.ack or state.phase in (Phase.IDLE, Phase.BUSY):
        return _to(replace(state, answer=answer), Phase.DONE, now)
    if len(state.waiting) == WAITING:
        return replace(state, notice=Fault.OVERFLOW)
    return replace(state, waiting=(*state.waiting, answer))


def controlled(
    state: Handshake, inputs: Inputs, now: float, *, recipes: Collection[int] = ()
) -> tuple[Handshake, bool]:
    """The controller's signals changed; gives the state and whether a trigger is to be fired, which `opened` follows.

    `recipes` are the numbers that are known; an unknown one, or a part's id that cannot be one, fires nothing.
    """
    before, fire = state.inputs, False
    rises = inputs.trigger and not before.trigger
    if inputs.recipe != before.recipe or rises:  # somebody else may have chosen another one meanwhile
        state = _with_recipe(state, inputs.recipe, recipes)
    may = replace(state, inputs=replace(inputs, trigger=False)).ready
    state = replace(state, inputs=inputs)
    if not inputs.trigger and state.notice in (Fault.NOT_READY, Fault.BAD_PART):
        state = replace(state, notice=Fault.NONE)
    if inputs.reset and not before.reset:
        state = _reset(state, now)
    elif rises and may and not inputs.bad_part:
        fire = True
    elif rises:
        why = Fault.BAD_PART if inputs.bad_part else Fault.NOT_READY
        state = replace(state, refused=state.refused + 1, notice=state.notice or why)
    return _acknowledged(state, now), fire


def _with_recipe(state: Handshake, recipe: int, recipes: Collection[int]) -> Handshake:
    if recipe and recipe not in recipes:
        return replace(state, notice=Fault.UNKNOWN_RECIPE)
    notice = Fault.NONE if state.notice is Fault.UNKNOWN_RECIPE else state.notice
    return replace(state, recipe=recipe or state.recipe, notice=notice)


def _acknowledged(state: Handshake, now: float) -> Handshake:
    if state.phase is Phase.DONE and state.ack and state.inputs.ack:
        state = _to(state, Phase.RELEASE, now)
        if state.notice is Fault.NO_ACK:
            state = replace(state, notice=Fault.NONE)
    if state.phase is Phase.RELEASE and not (state.inputs.ack or (state.inputs.trigger and not state.waiting)):
        if state.waiting:
            first, *others = state.waiting
            return _step(replace(state, answer=first, waiting=tuple(others)), "more answers", now)
        return _step(state, "more triggers" if state.open else "released", now)
    return state


def _reset(state: Handshake, now: float) -> Handshake:
    """Drop results that wait, and notices; causes that still hold stay."""
    state = replace(state, notice=Fault.NONE, waiting=(), answer=PartAnswer())
    return _to(state, Phase.BUSY if state.open else Phase.RELEASE, now)


def caused(state: Handshake, causes: frozenset[Fault]) -> Handshake:
    """The held faults are those of `causes` now."""
    return state if causes == state.causes else replace(state, causes=causes)


def noticed(state: Handshake, fault: Fault) -> Handshake:
    """Something was wrong once."""
    return replace(state, notice=fault)


def ticked(state: Handshake, now: float, ack_within: float) -> Handshake:
    """Time has passed: a result that is not acknowledged in `ack_within` seconds (0: never) is a fault."""
    overdue = state.ack and ack_within > 0 and state.phase is Phase.DONE and now - state.since >= ack_within
    return replace(state, notice=Fault.NO_ACK) if overdue and not state.notice else state


def _step(state: Handshake, event: str, now: float) -> Handshake:
    return _to(state, _NEXT[state.phase, event], now)


def _to(state: Handshake, phase: Phase, now: float) -> Handshake:
    return replace(state, phase=phase, since=now)
