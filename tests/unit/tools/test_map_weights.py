"""Labeled defects choose what each map counts, where it holds on defects that did not choose; never what is normal."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import tiny

from edgead import BuildConfig
from edgead.bundle import FusionSpec, MapSpec
from edgead.progress import Reporter
from edgead_tools.data import Sample
from edgead_tools.pipeline import build as module
from edgead_tools.pipeline.map_weights import FACTORS, MapWeights, can_weigh, choose

FUSION = FusionSpec(maps=(MapSpec(name="fine", weight=0.5), MapSpec(name="coarse", weight=0.5)), height=8, width=8)


def maps(count: int, seed: int, *, fine: float = 0.0, coarse: float = 0.0) -> list[dict[str, np.ndarray]]:
    """Noise of both maps, and on top of it what a defect adds to one cell of each."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        one = {"fine": random.random((8, 8), np.float32), "coarse": random.random((4, 4), np.float32)}
        one["fine"][3, 3] += np.float32(fine)
        one["coarse"][1, 1] += np.float32(coarse)
        made.append(one)
    return made


def test_the_map_that_sees_the_defects_counts_more() -> None:
    found = choose(FUSION, maps(60, 1), maps(30, 2, fine=0.5), ["hole"] * 30)
    assert found.changed
    assert found.factors["fine"] > found.factors["coarse"]
    assert [part.weight for part in found.fusion.maps] == [0.5 * factor for factor in found.factors.values()]
    before, after = found.auroc
    assert after > before + 0.05
    assert str(found).startswith("weights of the maps by 30 labeled defects: fine ")
    other = choose(FUSION, maps(60, 1), maps(30, 2, coarse=0.9), ["hole"] * 30)
    assert other.factors["coarse"] > other.factors["fine"]


def test_kinds_count_the_same_however_many_each_has() -> None:
    bad = [*maps(40, 2, fine=0.6), *maps(6, 3, coarse=0.6)]
    found = choose(FUSION, maps(60, 1), bad, ["hole"] * 40 + ["stain"] * 6)
    assert min(found.factors.values()) > 0  # one map alone would miss a kind


def test_weights_stay_where_nothing_is_gained() -> None:
    clear = choose(FUSION, maps(60, 1), maps(30, 2, fine=9.0, coarse=9.0), ["hole"] * 30)
    assert not clear.changed
    assert clear.fusion == FUSION
    assert "kept" in str(clear)
    changed = sum(choose(FUSION, maps(60, seed), maps(30, 100 + seed), ["none"] * 30).changed for seed in range(10))
    assert changed <= 5  # defects that are none: half the draws would be chance


def test_what_is_not_a_sum_of_maps_is_left() -> None:
    assert can_weigh(FUSION)
    assert not can_weigh(msgspec.structs.replace(FUSION, maps=FUSION.maps[:1]))
    assert not can_weigh(msgspec.structs.replace(FUSION, combine="product"))
    assert 1.0 in FACTORS
    assert min(FACTORS) > 0  # a map that counts nothing is refused when a bundle is opened


@pytest.mark.usefixtures("one_thread", "tiny_method")
def test_thresholds_are_fitted_to_good_images_through_the_chosen_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good").mkdir()
    for number in range(24):
        cv2.imwrite(str(tmp_path / f"good/{number}.png"), tiny.good(number, 96, 96))
    cv2.imwrite(str(tmp_path / "bad.png"), tiny.bad(1, 96, 96))
    defects = [Sample(tmp_path / "bad.png", "bad.png", "spot")]
    asked = []

    def doubled(reader, trained, images, given, mask) -> MapWeights:
        asked.append(list(given))
        fusion = reader.source.manifest.fusion
        maps = tuple(msgspec.structs.replace(part, weight=2 * part.weight) for part in fusion.maps)
        return MapWeights(msgspec.structs.replace(fusion, maps=maps), {"distance": 2.0}, (0.8, 0.9), 1)

    monkeypatch.setattr(module, "weigh", doubled)
    config = BuildConfig(method="tiny", data=str(tmp_path / "good"), out=str(tmp_path / "a.edgead"), steps=2,
                         threads=1, size=96)  # fmt: skip
    plain = module.build(config, Reporter()).bundle
    assert asked == []
    weighed = module.build(msgspec.structs.replace(config, out=str(tmp_path / "b.edgead")), Reporter(), defects=defects)
    assert asked == [defects]
    one, other = plain.manifest, weighed.bundle.manifest
    assert [part.weight for part in other.fusion.maps] == [2 * part.weight for part in one.fusion.maps]
    assert other.provenance["map_weights"]["factors"] == {"distance": 2.0}
    assert plain.read(one.artifacts[0].member) == weighed.bundle.read(other.artifacts[0].member)
    scores = [np.array(each.artifacts[0].good_scores) for each in (one, other)]
    np.testing.assert_allclose(scores[1], 2 * scores[0], rtol=0.02)
