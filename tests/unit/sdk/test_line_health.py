"""Whether the line judges: what share of the last minute could be, by camera, and what /healthz makes of it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lines import QUICK, Scripted, background, fake_detector, paced
from programs import until

from edgead.stream import status
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.sinks.web import Web
from edgead.stream.status import Meter


def health(page: Web) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/healthz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def flaky(broken: list[bool]) -> Iterator[np.ndarray]:
    """Frames that make the network fail as long as it is said so."""
    for image in paced(200):
        if broken[0]:
            image[0, 0, 0] = 77
        yield image


def test_a_line_that_can_judge_nothing_is_not_well(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame of a camera was INVALID, and /healthz said 200, judging."""
    monkeypatch.setattr(status, "HEALTH_S", 1.0)
    broken, page = [True], Web("0")
    cameras = [Camera("left", Scripted(paced(200))), Camera("right", Scripted(flaky(broken)))]
    with fake_detector(tiny_bundle, poison=77) as detector:
        line = Pipeline(cameras, detector, [page], QUICK)
        thread = background(line)
        try:
            until(lambda: line.status().cameras["right"].frames > 20)
            code, text = health(page)
            assert (code, text.splitlines()[0]) == (503, "no frame of a camera could be judged for a minute")
            assert "camera 1: 100.0% of the last minute could be judged" in text
            assert "camera 2: 0.0% of the last minute could be judged" in text
            broken[0] = False
            until(lambda: health(page)[0] == 200)
            assert health(page)[1].startswith("judging\n")
            until(lambda: line.status().cameras["right"].judged_share == 1.0)
        finally:
            line.stop()
            thread.join(30)


def test_the_share_is_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("edgead.stream.status.time.monotonic", lambda: now[0])
    meter = Meter()
    assert meter.read().judged_share is None
    for second in range(40):
        now[0] = 1000.0 + second
        meter.frame(0.0, 1.0, judged=second < 30)
    assert meter.read().judged_share == 0.75
    now[0] = 1000.0 + 85
    assert meter.read().judged_share == pytest.approx(5 / 15, abs=1e-4)  # seconds 25 to 39 are left
    now[0] = 1000.0 + 200
    assert meter.read().judged_share is None
