"""Pixel metrics of large and awkward test sides against scikit-learn and plain versions of AUPRO and sPRO."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from edgead.errors import DataError
from edgead_tools.evaluation.metrics import PixelScores, region_weights, saturated_weights
from edgead_tools.evaluation.metrics import pixels as module

Map, Mask = NDArray[np.float32], NDArray[np.bool_]
Defects = list[tuple[Mask, int]]  # with the saturation area


def speckled(seed: int, size: int = 10) -> Mask:
    """A mask full of regions that touch, at edges and at corners."""
    return np.random.default_rng(seed).random((size, size)) < 0.3


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, Mask], Map]] = {
    "smooth": lambda rng, mask: (rng.normal(size=mask.shape) + mask).astype(np.float32),
    "ties": lambda rng, mask: np.round(rng.normal(size=mask.shape) + mask).astype(np.float32),
    "constant": lambda rng, mask: np.full(mask.shape, -3.5, np.float32),
    "both zeros": lambda rng, mask: np.where(rng.random(mask.shape) < 0.5, -0.0, 0.0).astype(np.float32),
    "outliers": lambda rng, mask: np.where(rng.random(mask.shape) < 0.01, 1e30, rng.random(mask.shape) + mask).astype(
        np.float32
    ),
    "an offset": lambda rng, mask: (1e4 + 1e-2 * (rng.normal(size=mask.shape) + mask)).astype(np.float32),
    "many octaves": lambda rng, mask: np.exp(15 * rng.normal(size=mask.shape) + 9 * mask).astype(np.float32),
    "negative": lambda rng, mask: (-np.exp(rng.normal(size=mask.shape)) - mask).astype(np.float32),
}


def slow_curve(maps: list[Map], good: list[Mask], coverage: Callable[[float], float]) -> list[tuple[float, float]]:
    """(FPR, coverage) threshold by threshold; `good` is True where a pixel is free of defects."""
    points = {(0.0, 0.0), (1.0, 1.0)}
    for threshold in np.unique(np.concatenate([one.ravel() for one in maps])):
        false = sum(int(((m >= threshold) & g).sum()) for m, g in zip(maps, good, strict=True))
        points.add((false / sum(int(g.sum()) for g in good), coverage(float(threshold))))
    return sorted(points)


def area(points: list[tuple[float, float]], limit: float) -> float:
    """By trapezoids up to the limit, with the height there between its neighbors."""
    total = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            total += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return total / limit


def slow_aupro(maps: list[Map], masks: list[Mask], limit: float) -> float:
    """With scipy's labels: one region wherever pixels touch, at corners too."""
    regions = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [anomaly_map[labels == number + 1] for number in range(count)]
    points = slow_curve(maps, [~mask for mask in masks], lambda t: float(np.mean([(r >= t).mean() for r in regions])))
    return area(points, limit)


def slow_au_spro(maps: list[Map], defects: list[Defects], limit: float) -> float:
    """The mean over defects of min(hits / area, 1), and false positives where no defect of the image is."""
    good = [
        ~np.any([np.zeros(m.shape, bool), *(mask for mask, _ in of)], axis=0)
        for m, of in zip(maps, defects, strict=True)
    ]
    pairs = [(m[mask], full) for m, of in zip(maps, defects, strict=True) for mask, full in of]
    points = slow_curve(maps, good, lambda t: float(np.mean([min((s >= t).sum() / full, 1) for s, full in pairs])))
    return area(points, limit)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_pooled_pixels_are_independent_implementations(name: str) -> None:
    rng = np.random.default_rng(0)
    masks = [np.zeros((10, 10), np.bool_), *(speckled(number) for number in range(3)), np.ones((10, 10), np.bool_)]
    maps = [DISTRIBUTIONS[name](rng, mask) for mask in masks]
    pixels = PixelScores()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        pixels.add(anomaly_map, mask)
    scores, labels = np.concatenate(maps).ravel(), np.concatenate(masks).ravel()
    assert pixels.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert pixels.average_precision() == pytest.approx(average_precision_score(labels, scores), abs=1e-6)
    for limit in (0.01, 0.3, 1.0):
        assert pixels.aupro(limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-6)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("limit", [0.01, 0.05, 0.3, 1.0])
def test_saturated_overlap_is_the_definition(name: str, limit: float) -> None:
    rng = np.random.default_rng(3)
    maps, defects, pixels = [], [], PixelScores()
    for number in range(4):
        of: Defects = []
        for _ in range(number):  # the first image is good; boxes overlap
            mask = np.zeros((18, 24), np.bool_)
            y, x = rng.integers(0, 10, 2)
            mask[y : y + rng.integers(1, 8), x : x + rng.integers(1, 12)] = True
            of.append((mask, int(rng.integers(1, mask.sum() + 1))))
        union = np.any([np.zeros((18, 24), bool), *(mask for mask, _ in of)], axis=0)
        maps.append(DISTRIBUTIONS[name](rng, union))
        defects.append(of)
        pixels.add(maps[-1], union, "logical" if of else None, saturated_weights(maps[-1], of))
    assert pixels.curve().area(limit) == pytest.approx(slow_au_spro(maps, defects, limit), abs=1e-6)


def test_a_saturated_defect_is_found_whole_by_part_of_it() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[:10, :20] = True  # 200 pixels
    anomaly_map = np.zeros(mask.shape, np.float32)
    anomaly_map[:10, :5] = 1  # 50 of them
    pixels = PixelScores()
    pixels.add(anomaly_map, mask, "", saturated_weights(anomaly_map, [(mask, 50)]))
    assert pixels.curve().area(0.05) == 1


def test_whole_areas_make_saturated_overlap_plain_overlap() -> None:
    rng, mask = np.random.default_rng(0), np.zeros((20, 20), np.bool_)
    mask[2:5, 2:9], mask[10:12, 3:4] = True, True
    anomaly_map = DISTRIBUTIONS["smooth"](rng, mask)
    labels, count = ndimage.label(mask)
    defects = [(labels == number + 1, int((labels == number + 1).sum())) for number in range(count)]
    assert np.allclose(saturated_weights(anomaly_map, defects), region_weights(mask))


def test_kinds_are_told_apart_and_share_the_good_images() -> None:
    rng = np.random.default_rng(1)
    masks = {None: np.zeros((10, 10), np.bool_), "hole": speckled(1), "stain": speckled(2)}
    maps = {kind: DISTRIBUTIONS["smooth"](rng, mask) for kind, mask in masks.items()}
    pixels = PixelScores()
    for kind, mask in masks.items():
        pixels.add(maps[kind], mask, kind)
    for kind in ("hole", "stain"):
        alone = PixelScores.of([(maps[one], masks[one]) for one in (None, kind)])
        assert pixels.curve([kind]).auroc() == pytest.approx(alone.auroc(), abs=1e-12)
        assert pixels.curve([kind]).area(0.3) == pytest.approx(alone.aupro(), abs=1e-12)
    assert pixels.auroc() == pytest.approx(PixelScores.of([(maps[one], masks[one]) for one in masks]).auroc())


def test_a_defective_image_whose_mask_is_empty_has_good_pixels_only() -> None:
    rng, mask = np.random.default_rng(1), speckled(4)
    maps = [DISTRIBUTIONS["smooth"](rng, mask) for _ in range(2)]
    pixels = PixelScores()
    pixels.add(maps[0], mask, "hole")
    pixels.add(maps[1], np.zeros_like(mask), "hole")
    assert pixels.aupro() == pytest.approx(slow_aupro(maps, [mask, np.zeros_like(mask)], 0.3), abs=1e-12)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_table_that_is_full_stays_close(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING", 5000)
    rng = np.random.default_rng(2)
    full, exact = PixelScores(cells=40_000), PixelScores()
    for number in range(12):
        mask = np.zeros((96, 96), np.bool_)
        if number:
            mask[number : number + 20, 10 : 30 + number] = True
        anomaly_map = DISTRIBUTIONS[name](rng, mask)
        for pixels in (full, exact):
            pixels.add(anomaly_map, mask)
        assert full._counts.size <= 40_000
    exact.auroc(), full.auroc()
    assert (full._shift > 0) == (exact._counts.size > 40_000)
    assert exact._shift == 0
    assert full.auroc() == pytest.approx(exact.auroc(), abs=1e-5)  # of ten thousand rows, not two million
    assert full.aupro() == pytest.approx(exact.aupro(), abs=1e-3)
    assert full.average_precision() == pytest.approx(exact.average_precision(), abs=1e-3)
    assert full.f1_max().value == pytest.approx(exact.f1_max().value, abs=1e-3)


def test_a_large_test_side_is_close_to_scikit_learn_in_bounded_memory() -> None:
    """12 maps of 1024 x 1024: more scores than the table holds, in memory that more maps would not raise."""
    rng = np.random.default_rng(0)
    mask = np.zeros((1024, 1024), np.bool_)
    mask[300:420, 500:900] = True
    pixels, kept = PixelScores(), []
    tracemalloc.start()
    for number in range(12):
        anomaly_map = rng.random((1024, 1024), np.float32)
        anomaly_map[mask] += 0.2
        pixels.add(anomaly_map, mask if number % 2 else np.zeros_like(mask))
        if number < 3:
            kept.append((anomaly_map, mask if number % 2 else np.zeros_like(mask)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pixels._shift > 0
    assert peak < 700 * 2**20
    some = PixelScores.of(kept)
    scores, labels = (np.concatenate([pair[side].ravel() for pair in kept]) for side in (0, 1))
    assert some.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)


def test_scores_that_are_no_numbers_are_refused() -> None:
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(DataError, match="not a finite"):
            PixelScores().add(np.full((2, 2), value, np.float32), np.eye(2, dtype=np.bool_))
