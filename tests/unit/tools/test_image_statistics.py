"""Statistics of the whole picture against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edgead_tools.layers.image_statistics import (
    VARIANCE,
    find_strange_pictures,
    fit_image_statistics,
    image_descriptor,
    shrinkage,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def levels(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shared = torch.randn(count, 1, 1, 1, generator=random)  # pictures differ as a whole
    fine, coarse = (
        torch.randn(count, channels, side, side, generator=random) + 0.5 * shared for channels, side in ((3, 8), (4, 4))
    )
    return fine, coarse


def thirds(count: int) -> list[Tensor]:
    return [torch.arange(start, count, 3) for start in range(3)]


def test_a_picture_is_described_by_means_and_deviations() -> None:
    fine, coarse = levels(5)
    expected = [
        part
        for level in (fine.double().numpy(), coarse.double().numpy())
        for part in (level.mean((2, 3)), np.sqrt(level.var((2, 3)) + VARIANCE))
    ]
    assert np.allclose(image_descriptor(fine, coarse).numpy(), np.concatenate(expected, 1), atol=1e-5)


def test_distances_are_mahalanobis_of_the_shrunk_covariance() -> None:
    vectors = image_descriptor(*levels(30))
    fitted = fit_image_statistics(vectors, thirds(30))
    known = vectors.double().numpy()
    mean, deviation = known.mean(0), known.std(0)
    standard = (known - mean) / deviation
    covariance = standard.T @ standard / 30
    share = shrinkage(torch.from_numpy(covariance), 30)
    shrunk = (1 - share) * covariance + share * np.eye(len(covariance))
    new = levels(4, seed=3)
    away = (image_descriptor(*new).double().numpy() - mean) / deviation
    distance = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(shrunk), away) / len(mean))
    expected = (distance - fitted.statistics.usual) / fitted.statistics.spread
    found = fitted.statistics(*new)
    assert found.shape == (4, 1, 1)
    assert np.allclose(found[:, 0, 0].numpy(), expected, atol=1e-3)


def test_the_shrinkage_falls_with_the_number_of_pictures() -> None:
    covariance = torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.1], dtype=torch.float64))
    shares = [shrinkage(covariance, count) for count in (2, 20, 2000)]
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[-1] < 0.01
    assert shrinkage(torch.eye(4, dtype=torch.float64), 20) == 1  # it is a multiple of the identity already


def test_what_is_usual_is_learned_from_other_folds() -> None:
    vectors = image_descriptor(*levels(24))
    fitted = fit_image_statistics(vectors, thirds(24))
    assert float(fitted.left_out.median()) == pytest.approx(0, abs=1e-5)
    inside = fitted.statistics(*levels(24))[:, 0, 0]
    assert inside.mean() < fitted.left_out.mean()  # pictures are nearer to statistics that were fitted to them


def test_another_look_of_the_whole_picture_stands_out() -> None:
    fitted = fit_image_statistics(image_descriptor(*levels(40)), thirds(40))
    fine, coarse = levels(6, seed=8)
    assert fitted.statistics(1.5 * fine, coarse).min() > fitted.statistics(fine, coarse).max()


def test_pictures_that_are_all_alike_give_finite_numbers() -> None:
    fine, coarse = (level[:1].repeat(9, 1, 1, 1) for level in levels(1))
    fitted = fit_image_statistics(image_descriptor(fine, coarse), thirds(9))
    assert torch.isfinite(fitted.statistics(*levels(2, seed=4))).all()


def pictures(bad: int, seed: int = 0) -> Tensor:
    """150 vectors of good pictures, which vary along six directions, and `bad` that are off along a seventh."""
    random = torch.Generator().manual_seed(seed)
    looks = torch.randn(150 + bad, 7, generator=random)
    looks[:, 6] *= 0.3
    looks[150:, 6] += 4 + 4 * torch.rand(bad, generator=random)
    mixing = torch.linalg.qr(torch.randn(24, 24, generator=random)).Q[:7]
    vectors = looks @ mixing + 0.1 * torch.randn(150 + bad, 24, generator=random)
    return vectors[torch.randperm(150 + bad, generator=torch.Generator().manual_seed(1))]


def bad_ones(bad: int) -> set[int]:
    order = torch.randperm(150 + bad, generator=torch.Generator().manual_seed(1))
    return set(torch.nonzero(order >= 150)[:, 0].tolist())


@pytest.mark.parametrize("bad", [2, 8])
def test_bad_pictures_that_are_alike_are_found_and_good_ones_are_not(bad: int) -> None:
    found = set(find_strange_pictures(pictures(bad), thirds(150 + bad)).tolist())
    assert len(found & bad_ones(bad)) >= 0.8 * bad
    assert len(found - bad_ones(bad)) <= 1
    assert find_strange_pictures(pictures(0), thirds(150)).tolist() == []


def test_turned_copies_are_left_out_with_their_picture() -> None:
    vectors = pictures(8)
    copies = torch.cat([vectors, vectors + 0.01])
    found = set(find_strange_pictures(copies, thirds(158), images=158).tolist())
    assert len(found & bad_ones(8)) >= 6


def test_pictures_that_are_believed_nowhere_are_in_no_statistics() -> None:
    vectors, strange = pictures(15), torch.tensor(sorted(bad_ones(15)))
    kept = torch.isin(torch.arange(165), strange, invert=True)
    without = fit_image_statistics(vectors, thirds(165), without=strange)
    alone = fit_image_statistics(vectors[kept], [torch.arange(150)[start::3] for start in range(3)])
    assert torch.allclose(without.statistics.mean, alone.statistics.mean)
    assert torch.allclose(without.statistics.factor, alone.statistics.factor, atol=1e-5)
    assert float(without.left_out[kept].median()) == pytest.approx(0, abs=0.05)
    assert float(without.left_out[strange].min()) > float(
        fit_image_statistics(vectors, thirds(165)).left_out[strange].min()
    )
