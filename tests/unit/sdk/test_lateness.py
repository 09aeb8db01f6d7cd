"""Verdict and lateness are two facts: what is judged past the deadline is NG and late, or LATE, and never OK."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from lines import QUICK, Memory, Scripted, fake_detector, images

from edgead import Detector, Frame, Verdict
from edgead.stream.aggregation import VerdictAggregation
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.webhook import Webhook


def test_a_result_past_the_deadline_is_late(tiny_bundle: Path) -> None:
    sink = Memory()
    with fake_detector(tiny_bundle, seconds=0.02) as detector:
        Pipeline([Camera("", Scripted(images(2)))], detector, [sink], replace(QUICK, deadline=5.0)).run()
    assert [result.verdict for result in sink.results] == [Verdict.LATE] * len(sink.results)
    assert sink.results[0].reasons[0].startswith("OK, but judged ")
    assert sink.results[0].reasons[0].endswith("past the deadline of 5 ms")


def test_what_is_bad_and_late_is_ng_and_both_are_said(tiny_bundle: Path) -> None:
    """Twelve bad parts, judged too late: all were LATE, and what acts on NG never heard of them."""
    sink = Memory()
    with fake_detector(tiny_bundle, seconds=0.02) as detector:
        line = Pipeline([Camera("", Scripted(images(2, level=250)))], detector, [sink], replace(QUICK, deadline=5.0))
        status = line.run()
    for result in sink.results:
        assert (result.verdict, result.judged, result.late) == (Verdict.NG, Verdict.NG, True)
        assert result.is_anomalous
        assert result.to_dict()["verdict"] == result.to_dict()["judged"] == "NG"
        assert result.to_dict()["late"] is True
    assert status.late == status.verdicts["NG"] == len(sink.results) > 0
    good = replace(sink.results[0], verdict=Verdict.LATE, judged=Verdict.OK)
    assert (good.to_dict()["verdict"], good.to_dict()["judged"]) == ("LATE", "OK")
    asked = ({Verdict.NG}, {Verdict.OK}, {Verdict.LATE}, {Verdict.REVIEW, Verdict.INVALID})
    assert [sink.results[0].is_any(one) for one in asked] == [True, False, True, False]
    assert [good.is_any(one) for one in asked] == [False, True, True, False]


def test_a_late_part_is_late_as_a_whole(tiny_bundle: Path) -> None:
    sink = Memory()
    settings = replace(QUICK, deadline=5.0, aggregation=VerdictAggregation(2))
    camera = Camera("", Scripted(images(4)), policy="every")
    with fake_detector(tiny_bundle, seconds=0.02) as detector:
        Pipeline([camera], detector, [sink], settings).run()
    assert [(one.verdict, one.judged, one.late) for one in sink.results] == [(Verdict.LATE, Verdict.OK, True)] * 2


def test_files_have_no_age_and_are_never_late(quick: Detector, parts: Path) -> None:
    from edgead.stream.sources import open_source

    sink = Memory()
    Pipeline([Camera("", open_source(str(parts)))], quick, [sink], replace(QUICK, deadline=1e-6)).run()
    assert [(result.age, result.verdict) for result in sink.results[:2]] == [(0.0, Verdict.OK)] * 2


@pytest.mark.parametrize("found", [Verdict.NG, Verdict.REVIEW])
def test_what_is_late_is_kept_for_what_it_was_found_to_be(detector: Detector, tmp_path: Path, found: Verdict) -> None:
    frame = Frame(tiny.bad(), 7, "camera:0", 1.75e9)
    verdict = found if found is Verdict.NG else Verdict.LATE
    result = replace(detector.detect(frame), verdict=verdict, judged=found, late=True, score=9.0)
    sink = open_sink(f"keep:{tmp_path}?format=jpg")
    sink.emit(frame, result)
    sink.close()
    (told,) = tmp_path.glob("*/*/result.json")
    assert json.loads(told.read_text())["kept_for"] == f"verdict {found}"


def test_a_webhook_posts_what_is_ng_and_what_is_late() -> None:
    default = inspect.signature(Webhook).parameters["verdicts"].default
    assert default == {Verdict.NG, Verdict.LATE}
