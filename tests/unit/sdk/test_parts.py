"""Parts of several frames: their identity over drops, reconnects and pauses, and what an incomplete part is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines import Memory, Scripted, fake_detector, images

from edgead import Detector, Frame, Result, Verdict
from edgead.errors import SourceError
from edgead.stream.aggregation import Aggregator, VerdictAggregation, decide
from edgead.stream.backoff import Backoff
from edgead.stream.capture import Camera
from edgead.stream.parts import PartCounter
from edgead.stream.pipeline import Pipeline, PipelineSettings

GOOD, BAD = 50, 250


def shot(index: int, level: int = GOOD, *, clock: float = 0.0, opening: int = 0, name: str = "") -> Frame:
    return Frame(np.full((8, 8, 3), level, np.uint8), index, name, clock=clock, opening=opening)


def parts(detector: Detector, frames: list[Frame], vote: VerdictAggregation) -> list[Result]:
    """The results of the parts that the frames make."""
    aggregator = Aggregator(vote)
    found = [one for frame in frames for one in aggregator.add(frame, detector.detect(frame))]
    return [result for _, result in found + aggregator.close()]


def test_a_dropped_frame_costs_its_own_part_alone(quick: Detector) -> None:
    """Parts of four frames of which two are bad: without frame 1 every later part was shifted by a frame."""
    levels = [GOOD, GOOD, BAD, BAD] * 2 + [GOOD] * 4 + [GOOD, GOOD, BAD, BAD]
    frames = [shot(index, level) for index, level in enumerate(levels) if index != 9]
    found = parts(quick, frames, VerdictAggregation(4, "majority"))
    assert [one.verdict for one in found] == [Verdict.NG, Verdict.NG, Verdict.INVALID, Verdict.NG]
    assert found[2].reasons == ("the part is incomplete: there are 3 of its 4 frames",)
    assert [sum(one.extra["votes"].values()) for one in found] == [4, 4, 3, 4]


@given(st.lists(st.integers(0, 39), max_size=10))
def test_whatever_is_dropped_no_frame_is_counted_to_another_part(dropped: list[int]) -> None:
    counter = PartCounter(4)
    for index in sorted(set(range(40)) - set(dropped)):
        assert counter.of(shot(index)) == (0, index // 4)


def test_an_incomplete_part_is_never_ok(quick: Detector) -> None:
    (end,) = parts(quick, [shot(0), shot(1)], VerdictAggregation(4))
    assert (end.verdict, end.judged) == (Verdict.INVALID, Verdict.OK)
    assert end.reasons == ("the part is incomplete: there are 2 of its 4 frames",)
    (bad,) = parts(quick, [shot(0), shot(1, BAD)], VerdictAggregation(4, "majority"))
    assert bad.verdict is Verdict.NG  # what is bad stays bad


def test_the_count_starts_anew_when_a_camera_is_opened_again(quick: Detector) -> None:
    frames = [shot(0), shot(1), *(shot(2 + n, BAD if n > 1 else GOOD, opening=1) for n in range(4))]
    found = parts(quick, frames, VerdictAggregation(4))
    assert [one.verdict for one in found] == [Verdict.INVALID, Verdict.NG]
    assert found[1].extra["votes"] == {"OK": 2, "NG": 2}


def test_the_count_starts_anew_after_a_pause(quick: Detector) -> None:
    clocks = [100.0, 100.1, 100.2, 100.3, 100.4, 100.5, 103.0, 103.1, 103.2, 103.3]
    frames = [shot(index, clock=clock) for index, clock in enumerate(clocks)]
    found = parts(quick, frames, VerdictAggregation(4))
    assert [one.extra["votes"] for one in found] == [{"OK": 4}, {"OK": 2}, {"OK": 4}]
    assert [one.verdict for one in found] == [Verdict.OK, Verdict.INVALID, Verdict.OK]


def test_what_is_dropped_here_is_no_pause(quick: Detector) -> None:
    """Twenty frames at ten a second that a busy line leaves out: their numbers say where the count is."""
    frames = [shot(index, clock=100 + 0.1 * index) for index in (*range(8), *range(28, 32))]
    assert [one.verdict for one in parts(quick, frames, VerdictAggregation(4))] == [Verdict.OK] * 3


def test_a_slow_trigger_is_no_pause(quick: Detector) -> None:
    frames = [shot(index, clock=100 + 3.0 * index) for index in range(8)]
    assert [one.verdict for one in parts(quick, frames, VerdictAggregation(4))] == [Verdict.OK] * 2


def test_a_part_of_which_a_file_could_not_be_read_is_not_ok(quick: Detector) -> None:
    names = {0: "a_1", 1: "a_2", 3: "b_2", 4: "c_1", 5: "c_2", 7: "c_4", 8: "d_1"}  # b_1 and c_3 are damaged
    found = parts(quick, [shot(index, name=name) for index, name in names.items()], VerdictAggregation(0))
    # whose the first damaged file is, nobody can tell from outside: a_3 or b_1
    assert [one.verdict.value for one in found] == ["INVALID", "INVALID", "INVALID", "OK"]
    assert found[2].reasons == ("the part is incomplete: there are 3 frames, and one beside them could not be read",)


@pytest.mark.parametrize(
    ("verdicts", "worst", "most"),
    [
        ("OK OK INVALID", "INVALID", "OK"),
        ("OK INVALID INVALID", "INVALID", "INVALID"),
        ("REVIEW OK INVALID", "INVALID", "REVIEW"),
        ("NG OK INVALID", "NG", "NG"),
        ("INVALID INVALID", "INVALID", "INVALID"),
        ("OK OK OK", "OK", "OK"),
    ],
)
def test_a_frame_that_could_not_be_judged_makes_no_part_ok(verdicts: str, worst: str, most: str) -> None:
    frames = [Verdict(one) for one in verdicts.split()]
    assert (decide(frames, "any").value, decide(frames, "majority").value) == (worst, most)


def test_a_line_with_a_camera_that_comes_back_has_whole_parts(tiny_bundle: Path) -> None:
    """Two frames, the camera is lost, four frames: one part incomplete, one complete, both with their numbers."""
    sink = Memory()
    again = iter([Scripted(images(4))])
    camera = Camera("", Scripted(images(2), SourceError("lost")), lambda: next(again), policy="every")
    settings = PipelineSettings(
        limit=6, health=False, aggregation=VerdictAggregation(4), camera_backoff=Backoff(0.001, 0.004), drain=0.5
    )
    with fake_detector(tiny_bundle) as detector:
        Pipeline([camera], detector, [sink], settings).run()
    assert [one.verdict for one in sink.results] == [Verdict.INVALID, Verdict.OK]
    assert [one.number for one in sink.results] == [1, 2]
