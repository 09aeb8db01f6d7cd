"""The segmentation head and its five losses, each against a slow plain version (CSAD, 8: equations 1 and 2)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgead_tools.methods.csad.component_head import (
    WEIGHTS,
    ComponentHead,
    dice_loss,
    entropy,
    labeled_losses,
    unlabeled_losses,
)

IMAGES, CLASSES, SIDE = 2, 3, 5


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Logits, labels, and the probabilities as numpy computes them."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(IMAGES, CLASSES, SIDE, SIDE, generator=random)
    labels = torch.randint(0, CLASSES, (IMAGES, SIDE, SIDE), generator=random)
    raised = np.exp(logits.double().numpy())
    return logits, labels, raised / raised.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy_and_focal_loss(seed: int) -> None:
    logits, labels, probabilities = drawn(seed)
    entropies, focals = [], []
    for b, y, x in np.ndindex(IMAGES, SIDE, SIDE):
        right = probabilities[b, labels[b, y, x], y, x]
        entropies.append(-math.log(right))
        focals.append(-((1 - right) ** 2) * math.log(right + 1e-5))
    losses = labeled_losses(logits, labels)
    assert float(losses["ce"]) == pytest.approx(0.5 * np.mean(entropies), rel=1e-4)
    assert float(losses["focal"]) == pytest.approx(10 * np.mean(focals), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_dice_loss(seed: int) -> None:
    logits, labels, probabilities = drawn(seed)
    chosen = np.stack([labels.numpy() == k for k in range(CLASSES)], axis=1).astype(float)
    weights = 1 / chosen.sum(axis=(0, 2, 3))
    weights /= weights.sum()
    total = 0.0
    for b in range(IMAGES):
        for k in range(CLASSES):
            both = (probabilities[b, k] * chosen[b, k]).sum()
            everything = probabilities[b, k].sum() + chosen[b, k].sum()
            total += weights[k] * (1 - (2 * both + 1e-5) / (everything + 2e-5)) / IMAGES
    assert float(labeled_losses(logits, labels)["dice"]) == pytest.approx(total, rel=1e-4)


def test_a_class_that_is_not_there_has_no_part_in_dice() -> None:
    probabilities = torch.full((1, 3, 4, 4), 1 / 3)
    chosen = torch.zeros(1, 3, 4, 4)
    chosen[:, 0] = 1
    assert float(dice_loss(probabilities, chosen)) == pytest.approx(1 - 2 / 4, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_histogram_and_entropy_loss(seed: int) -> None:
    logits, _, probabilities = drawn(seed)
    shares = np.random.default_rng(seed).dirichlet(np.ones(CLASSES), IMAGES)
    away = 0.0
    for b in range(IMAGES):
        for k in range(1, CLASSES):
            away += abs(probabilities[b, k].mean() - shares[b, k]) / IMAGES
    losses = unlabeled_losses(logits, torch.from_numpy(shares).float())
    assert float(losses["histogram"]) == pytest.approx(10 * away, rel=1e-4)
    plain = np.mean([-p * math.log(p + 1e-5) for p in probabilities.ravel()])
    assert float(losses["entropy"]) == pytest.approx(plain, rel=1e-4)
    assert float(entropy(torch.from_numpy(probabilities))) == pytest.approx(plain, rel=1e-4)


def test_the_weights_are_the_published_codes() -> None:
    assert WEIGHTS == {"ce": 0.5, "focal": 10.0, "dice": 1.0, "histogram": 10.0, "entropy": 1.0}


@pytest.mark.parametrize("side", [4, 6])
def test_the_heads_logits_lie_on_the_low_taps_grid(side: int) -> None:
    head = ComponentHead((6, 10), 4, widths=(3, 8, 8), dilations=(2,)).eval()
    low, deep = torch.randn(2, 6, 4 * side, 4 * side), torch.randn(2, 10, side, side)
    logits = head(low, deep)
    assert logits.shape == (2, 4, 4 * side, 4 * side)
    torch.testing.assert_close(head(low[1:], deep[1:]), logits[1:], rtol=1e-4, atol=1e-5)  # no image sees another
