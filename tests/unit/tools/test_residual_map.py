"""The residual map: whitening, statistics of the cells, and the map itself against plain numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgead_tools.layers import residual_map
from edgead_tools.layers.residual_map import (
    FLOOR,
    POSITION_BLUR,
    SHRINKAGE,
    TRUSTED,
    ResidualMap,
    fit_residual_maps,
    fit_residual_maps_in_folds,
)

pytestmark = pytest.mark.usefixtures("one_thread")

Array = NDArray[np.float64]
CHANNELS = 5


def residuals(count: int, *, height: int = 6, width: int = 9, seed: int = 0) -> Tensor:
    """Correlated channels of unlike scales and means, wider toward the right, (count, CHANNELS, height, width)."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(CHANNELS, CHANNELS)) * (0.1, 0.5, 1, 3, 10)
    noise = random.normal(size=(count, CHANNELS, height, width)) * np.linspace(1, 2, width)
    mixed = np.einsum("dc,bchw->bdhw", mixing, noise) + random.normal(0, 2, (CHANNELS, 1, 1))
    return torch.from_numpy(mixed.astype(np.float32))


def batches(stack: Tensor, size: int = 7) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: stack.split(size)


def fit(good: Callable[[], Iterable[Tensor]]) -> ResidualMap:
    """The map of a single level."""
    (fitted,) = fit_residual_maps(lambda: ([batch] for batch in good()))
    return fitted


def rows(stack: Tensor) -> Array:
    return stack.double().permute(0, 2, 3, 1).reshape(-1, stack.shape[1]).numpy()


def plain_whitening(stack: Tensor) -> tuple[Array, Array]:
    mean = rows(stack).mean(0)
    covariance = np.cov(rows(stack), rowvar=False, bias=True)
    level = np.trace(covariance) / len(covariance)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * level * np.eye(len(covariance))
    return mean, np.linalg.inv(np.linalg.cholesky(shrunk))


def plain_blur(statistic: Array) -> Array:
    """Five taps down, five across, the edge's value beyond the edge."""
    weights = np.exp(-0.5 * (np.arange(-2, 3) / POSITION_BLUR) ** 2)
    weights /= weights.sum()
    height, width = statistic.shape
    blurred = np.zeros_like(statistic)
    for y, x in np.ndindex(height, width):
        for dy, dx in np.ndindex(5, 5):
            from_y, from_x = np.clip(y + dy - 2, 0, height - 1), np.clip(x + dx - 2, 0, width - 1)
            blurred[y, x] += weights[dy] * weights[dx] * statistic[from_y, from_x]
    return blurred


def plain_lengths(stack: Tensor, mean: Array, whitening: Array) -> Array:
    """(B, h, w): the Mahalanobis length of every residual over the root of the number of channels."""
    centered = stack.double().numpy() - mean[:, None, None]
    lengths = np.zeros((len(stack), *stack.shape[2:]))
    for b, y, x in np.ndindex(lengths.shape):
        lengths[b, y, x] = np.sqrt(((whitening @ centered[b, :, y, x]) ** 2).mean() + FLOOR)
    return lengths


def plain_positions(lengths: Array) -> tuple[Array, Array]:
    trust = len(lengths) / (len(lengths) + TRUSTED)
    usual = trust * plain_blur(lengths.mean(0)) + (1 - trust) * lengths.mean()
    variance = trust * plain_blur(lengths.var(0)) + (1 - trust) * lengths.var()
    return usual, np.sqrt(variance)


def test_the_map_is_what_plain_numpy_gives() -> None:
    good, new = residuals(20), residuals(3, seed=1)
    mean, whitening = plain_whitening(good)
    usual, spread = plain_positions(plain_lengths(good, mean, whitening))
    fitted = fit(batches(good))
    expected = (plain_lengths(new, mean, whitening) - usual) / spread
    np.testing.assert_allclose(fitted.usual.numpy(), usual, rtol=1e-4)
    np.testing.assert_allclose(fitted.spread.numpy(), spread, rtol=1e-4)
    np.testing.assert_allclose(fitted(new).numpy(), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(fitted(new), fitted.rate(fitted.whiten(new)))
    assert fitted.channels == CHANNELS


def test_whitening_without_shrinkage_gives_unit_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_map, "SHRINKAGE", 0.0)
    good = residuals(40)
    whitened = rows(fit(batches(good)).whiten(good))
    np.testing.assert_allclose(whitened.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(whitened, rowvar=False, bias=True), np.eye(CHANNELS), atol=1e-4)


def test_shrinkage_holds_weak_directions_below_one_and_strong_ones_near_it() -> None:
    good = residuals(40)
    fitted = fit(batches(good))
    values = np.linalg.eigvalsh(np.cov(rows(fitted.whiten(good)), rowvar=False, bias=True))
    own = np.linalg.eigvalsh(np.cov(rows(good), rowvar=False, bias=True))
    expected = own / ((1 - SHRINKAGE) * own + SHRINKAGE * own.mean())
    np.testing.assert_allclose(values, np.sort(expected), rtol=1e-3)
    assert values.max() < 1 / (1 - SHRINKAGE)
    np.testing.assert_allclose(fitted.whitening[:, :, 0, 0].numpy(), plain_whitening(good)[1], rtol=1e-4, atol=1e-6)


def test_levels_are_fitted_side_by_side() -> None:
    fine, coarse = residuals(12), residuals(12, height=3, width=4, seed=1)
    pairs = list(zip(fine.split(5), coarse.split(5), strict=True))
    for together, alone in zip(fit_residual_maps(lambda: pairs), (fine, coarse), strict=True):
        expected = fit(batches(alone, 5)).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in together.state_dict().items())


def test_how_images_are_batched_does_not_matter() -> None:
    good = residuals(20)
    one, other = fit(batches(good, 20)), fit(batches(good, 3))
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_many_images_give_each_cell_its_own_mean_and_spread() -> None:
    good = residuals(40, width=12)
    fitted = fit(lambda: good.split(10) * 250)  # 10 000 images
    lengths = plain_lengths(good, *plain_whitening(good))
    trust = 10_000 / (10_000 + TRUSTED)
    assert trust > 0.99
    np.testing.assert_allclose(fitted.usual.numpy(), plain_blur(lengths.mean(0)), rtol=0.02)
    np.testing.assert_allclose(fitted.spread.numpy(), np.sqrt(plain_blur(lengths.var(0))), rtol=0.03)


def test_few_images_lean_on_all_cells_together() -> None:
    good = residuals(3, width=12)
    fitted = fit(batches(good))
    lengths = plain_lengths(good, *plain_whitening(good))
    own = plain_blur(lengths.mean(0)) - lengths.mean()
    np.testing.assert_allclose(fitted.usual.numpy() - lengths.mean(), own * 3 / (3 + TRUSTED), atol=1e-5)
    np.testing.assert_allclose(fitted.spread.numpy(), lengths.std(), rtol=0.05)


def test_a_place_that_always_differs_is_rated_less() -> None:
    good = residuals(400, height=4, width=4)
    good[:, :, 0, 0] *= 4
    fitted = fit(batches(good, 100))
    rated = fitted.rate(torch.full((1, CHANNELS, 4, 4), 5.0))[0]  # the same everywhere
    assert fitted.usual[0, 0] > 1.5 * fitted.usual[2:, 2:].max()
    assert 0 < rated[0, 0] < 0.7 * rated[2:, 2:].min()


def turned(random: np.random.Generator) -> NDArray[np.float32]:
    return np.linalg.qr(random.normal(size=(CHANNELS, CHANNELS)))[0].astype(np.float32)


@pytest.mark.parametrize("change", ["unit", "offset", "rotation"])
def test_units_offsets_and_rotations_of_the_channels_do_not_matter(change: str) -> None:
    """Shrinkage goes toward a multiple of the identity, so these are what the map is invariant to."""
    good, new = residuals(30), residuals(2, seed=1)
    unit, rotation = torch.eye(CHANNELS), torch.from_numpy(turned(np.random.default_rng(2)))
    mix = {"unit": 7 * unit, "offset": unit, "rotation": rotation}[change]
    offset = 5.0 if change == "offset" else 0.0

    def changed(stack: Tensor) -> Tensor:
        return torch.einsum("dc,bchw->bdhw", mix, stack) + offset

    before = fit(batches(good))(new)
    after = fit(batches(changed(good)))(changed(new))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=2e-3)


def test_one_channels_unit_matters_through_shrinkage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    good, new = residuals(30), residuals(2, seed=1)
    scale = torch.tensor([1.0, 1, 3, 1, 1])[:, None, None]

    def difference() -> float:
        before, after = fit(batches(good))(new), fit(batches(good * scale))(new * scale)
        return float((after - before).abs().max())

    assert difference() > 0.05
    monkeypatch.setattr(residual_map, "SHRINKAGE", 0.0)
    assert difference() < 2e-3


@pytest.mark.parametrize("value", [0.0, 0.1, 3.0, 123.456, -1e4])
def test_residuals_that_never_change_give_a_finite_map(value: float) -> None:
    still = torch.full((2, CHANNELS, 4, 5), value)
    fitted = fit(lambda: [still])
    for stack in (still, still + 0.1, residuals(2, height=4, width=5)):
        assert torch.isfinite(fitted(stack)).all()
    assert fitted(still + 0.1).min() > fitted(still).max()


@pytest.mark.parametrize("count", [1, 3])
def test_a_constant_channel_and_a_single_batch_give_a_finite_map(count: int) -> None:
    good = residuals(count)
    good[:, 1], good[:, 3] = 100.0, 0.0
    fitted = fit(lambda: [good])
    assert torch.isfinite(fitted(good)).all()
    assert fitted(good).mean().abs() < 0.5
    assert torch.isfinite(fitted(good + 1)).all()


def test_a_cell_without_any_spread_stays_finite() -> None:
    good = residuals(1).repeat(200, 1, 1, 1)  # 200 times the same image
    fitted = fit(batches(good, 50))
    assert torch.isfinite(fitted(residuals(2, seed=1))).all()
    assert fitted.spread.min() > 0


def test_statistics_are_fitted_where_the_residuals_are() -> None:
    """Tensors without contents refuse to meet tensors of the CPU, as a GPU's do."""
    fitted = fit(lambda: [torch.empty(2, CHANNELS, 4, 5, device="meta")])
    assert {tensor.device.type for tensor in fitted.buffers()} == {"meta"}


def test_maps_out_of_fold_are_those_of_statistics_fitted_to_the_other_folds() -> None:
    good, folds = residuals(23), np.arange(23) // 3 % 4
    (fitted,), (found,) = fit_residual_maps_in_folds(lambda: ([batch] for batch in good.split(7)), folds)
    assert torch.equal(fitted(good), fit(batches(good))(good))
    for fold in range(4):
        others = fit(batches(good[folds != fold]))
        np.testing.assert_allclose(found[folds == fold], others(good[folds == fold]).numpy(), rtol=1e-3, atol=1e-3)


def test_images_are_stranger_out_of_fold_than_in_it() -> None:
    good, folds = residuals(6, height=3, width=3), np.arange(6) % 3
    (fitted,), (found,) = fit_residual_maps_in_folds(lambda: ([batch] for batch in good.split(5)), folds)
    assert found.mean() > float(fitted(good).mean()) + 0.05
