"""From a score to a verdict: the smallest area, two thresholds, and several frames of one part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from lines import QUICK, Memory, Scripted, fake_detector

from edgead import Detector, Frame, Result, Verdict, ops
from edgead.errors import UsageError
from edgead.stream.aggregation import Aggregator, VerdictAggregation, decide, part_of
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline, PipelineSettings

SCORES = st.floats(-2, 4)
VERDICTS = st.sampled_from(Verdict)


@given(SCORES, st.floats(0.1, 3), st.one_of(st.none(), st.floats(0.1, 0.9)))
def test_between_the_thresholds_a_person_decides(score: float, factor: float, review: float | None) -> None:
    verdict = ops.classify(score, ops.Rules(threshold=factor, review=review))
    if score > factor:
        assert verdict is Verdict.NG
    elif review is not None and score > review * factor:
        assert verdict is Verdict.REVIEW
    else:
        assert verdict is Verdict.OK


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_never_ok(score: float) -> None:
    assert ops.classify(score, ops.Rules()) is Verdict.NG


@pytest.mark.parametrize(
    "rules",
    [{"threshold": 0.0}, {"threshold": float("nan")}, {"review": 0.0}, {"review": 1.0}, {"min_area": -1.0}],
    ids=str,
)
def test_rules_that_make_no_sense(rules: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        ops.Rules(**rules)


@given(st.integers(0, 2**32 - 1), st.floats(0, 4000))
def test_a_smallest_area_leaves_out_smaller_regions_and_no_others(seed: int, area: float) -> None:
    grid = np.random.default_rng(seed).random((8, 8)).astype(np.float32) * 1.3
    every = ops.find_regions(grid, (80, 160))
    kept = ops.find_regions(grid, (80, 160), min_area=area)
    assert set(kept) <= set(every)
    count, labels = cv2.connectedComponents((grid > 1).view(np.uint8), connectivity=8)
    sizes = sorted(int((labels == label).sum()) * 200 for label in range(1, count))  # a cell has 10 x 20 pixels
    assert len(kept) == sum(size >= area for size in sizes)


def test_specks_alone_make_no_part_bad(tiny_bundle: Path) -> None:
    spot = tiny.good(1)
    spot[24:30, 32:40] = 255  # one cell of 8 x 6 pixels
    verdicts = {}
    for area in (0.0, 40.0, 60.0):
        with Detector(tiny_bundle, threads=1, rules=ops.Rules(min_area=area)) as detector:
            result = detector(spot)
            verdicts[area] = (result.verdict.value, len(result.regions))
            assert detector(tiny.bad()).verdict is Verdict.NG
            assert detector(np.full((48, 64, 3), 200, np.uint8)).verdict is Verdict.NG
    assert verdicts == {0.0: ("NG", 1), 40.0: ("NG", 1), 60.0: ("OK", 0)}


@given(st.lists(VERDICTS, min_size=1, max_size=9))
def test_a_part_is_as_bad_as_its_frames_say(verdicts: list[Verdict]) -> None:
    order = [Verdict.OK, Verdict.REVIEW, Verdict.NG]
    voting = [verdict for verdict in verdicts if verdict in order]
    worst, most = decide(verdicts, "any"), decide(verdicts, "majority")
    unseen = len(verdicts) - len(voting)
    if Verdict.NG in voting:
        assert worst is Verdict.NG
    else:
        assert worst is (Verdict.INVALID if unseen else max(voting, key=order.index))
    if 2 * sum(verdict is Verdict.NG for verdict in voting) >= len(voting) > 0:
        assert most is Verdict.NG
    elif 2 * unseen >= len(verdicts):
        assert most is Verdict.INVALID
    else:
        bad = sum(order.index(verdict) >= 1 for verdict in voting)
        assert most is (Verdict.REVIEW if 2 * bad >= len(voting) else Verdict.OK)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("in/part7_1.png", "in/part7"),
        ("in/part7_12.png", "in/part7"),
        ("in/part7-a 3.png", "in/part7-a"),
        ("12.png", "12"),
        ("camera:0", "camera:"),
        ("", ""),
    ],
)
def test_the_part_in_a_name(name: str, part: str) -> None:
    assert part_of(name) == part


def result(detector: Detector, level: int, index: int = 0, name: str = "") -> tuple[Frame, Result]:
    frame = Frame(np.full((8, 8, 3), level, np.uint8), index, name)
    return frame, detector.detect(frame)


def test_frames_become_parts(tiny_bundle: Path) -> None:
    with fake_detector(tiny_bundle) as detector:
        aggregator = Aggregator(VerdictAggregation(3, "majority"))
        levels = (50, 250, 50, 250, 240, 50, 60)
        out = [aggregator.add(*result(detector, level, index)) for index, level in enumerate(levels)]
        assert [len(parts) for parts in out] == [0, 0, 1, 0, 0, 1, 0]
        (first, good), (second, bad) = out[2][0], out[5][0]
        assert (good.verdict, bad.verdict) == (Verdict.OK, Verdict.NG)
        assert (first.index, second.index) == (1, 3)  # the strangest frame stands for its part
        assert (good.extra["votes"], bad.extra["votes"]) == ({"OK": 2, "NG": 1}, {"NG": 2, "OK": 1})
        ((_, rest),) = aggregator.close()
        assert rest.extra["votes"] == {"OK": 1}
        assert aggregator.close() == []
        blind = Aggregator(VerdictAggregation(2))
        frame = Frame(np.zeros((8, 8, 3), np.uint8))
        blind.add(frame, detector.invalid(frame, "dark"))
        ((_, unseen),) = blind.add(replace(frame, index=1), detector.invalid(frame, "dark"))
        assert (unseen.verdict, unseen.reasons) == (Verdict.INVALID, ("dark",))
        mixed = Aggregator(VerdictAggregation(2))
        mixed.add(frame, detector.invalid(frame, "dark"))
        ((shown, seen),) = mixed.add(*result(detector, 50, 1))
        assert (seen.verdict, seen.reasons, shown.index) == (Verdict.INVALID, ("dark",), 1)


def test_frames_become_parts_by_their_names(tiny_bundle: Path) -> None:
    names = ["a_1.png", "a_2.png", "b_1.png", "c_1.png", "c_2.png", "c_3.png"]
    with fake_detector(tiny_bundle) as detector:
        aggregator = Aggregator(VerdictAggregation(0))
        parts = [
            one for at, name in enumerate(names) for one in aggregator.add(*result(detector, 50, at, name))
        ] + aggregator.close()
    assert [sum(one.extra["votes"].values()) for _, one in parts] == [2, 1, 3]


def test_the_line_counts_frames_and_parts(tiny_bundle: Path) -> None:
    sink = Memory()
    images = [np.full((8, 8, 3), level, np.uint8) for level in (50, 250, 50, 50, 50)]
    settings = PipelineSettings(health=False, aggregation=VerdictAggregation(2))
    with fake_detector(tiny_bundle) as detector:
        status = Pipeline([Camera("", Scripted(images, live=False))], detector, [sink], settings).run()
    assert [one.verdict.value for one in sink.results] == ["NG", "OK", "INVALID"]  # the last part had one frame
    assert (status.frames, status.verdicts["OK"], status.verdicts["NG"]) == (5, 1, 1)
    assert QUICK.aggregation == VerdictAggregation()
    with pytest.raises(UsageError):
        VerdictAggregation(2, "all")
