"""What a build says of its limits."""

from __future__ import annotations

import numpy as np
import pytest
import tiny

from edgead import Bundle
from edgead.types import ImageU8
from edgead_tools.data import Sample
from edgead_tools.pipeline.build_page import BuildSummary, limits


def frame(sample: Sample) -> ImageU8:
    return np.zeros((32, 32, 3), np.uint8)


@pytest.mark.parametrize(("students", "said"), [(True, True), (False, False), (None, True)])
def test_few_steps_limit_what_was_trained_and_not_the_memory_alone(students: bool | None, said: bool) -> None:
    memory = {} if students is None else {"memory": {"students": students}}
    manifest = tiny.manifest(provenance={"training": {"steps": 20, "seconds": 3.0, **memory}})
    bundle = Bundle(manifest, {}, "0" * 64, None)
    summary = BuildSummary(
        bundle=bundle,
        good=(),
        parts=[1] * 200,
        linked=False,
        left=(),
        frame_size=(32, 32),
        timed=True,
        evaluation=None,
        frame=frame,
    )
    assert any("training took 20 steps" in one for one in limits(summary)) == said
