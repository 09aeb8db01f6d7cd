"""The segmentation head: the losses are the paper's equations, and the head learns from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edgead_tools.methods.stlm.segmentation_head import CEILING, SegmentationHead, segmentation_losses, shrink_masks

pytestmark = pytest.mark.usefixtures("one_thread")


def plain_losses(logits: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """The spec's section 8, cell by cell: L_focal = mean(BCE (1 - p_t)^4), L_l1 = mean |s - y|."""
    focal, l1 = [], []
    for logit, y in zip(logits.ravel().tolist(), target.ravel().tolist(), strict=True):
        s = 1 / (1 + np.exp(-logit))
        entropy = -(y * np.log(s) + (1 - y) * np.log(1 - s))
        right = s * y + (1 - s) * (1 - y)
        focal.append(entropy * (1 - right) ** 4)
        l1.append(abs(s - y))
    return {"focal": float(np.mean(focal)), "l1": float(np.mean(l1))}


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Whitened residuals (4, 16, 8, 8) that are large where the target is 1."""
    random = torch.Generator().manual_seed(0)
    target = torch.zeros(4, 8, 8)
    target[:2, 2:5, 3:6] = 1
    return torch.randn(4, 16, 8, 8, generator=random) * (1 + 3 * target[:, None]), target


def test_the_losses_are_the_papers_equations() -> None:
    random = np.random.default_rng(0)
    logits, target = random.normal(0, 3, (3, 5, 7)), (random.random((3, 5, 7)) < 0.3).astype(np.float64)
    found = segmentation_losses(torch.from_numpy(logits), torch.from_numpy(target))
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(plain_losses(logits, target), rel=1e-9)


def test_certainty_makes_losses_vanish_or_stay_finite() -> None:
    target = torch.zeros(2, 4, 4)
    target[0, :2] = 1
    right = segmentation_losses(40 * (2 * target - 1), target)
    wrong = segmentation_losses(-200 * (2 * target - 1), target)
    assert max(loss.item() for loss in right.values()) < 1e-12
    assert wrong["l1"].item() == pytest.approx(1)
    assert wrong["focal"].item() == pytest.approx(200)


def test_a_cell_is_anomalous_where_more_than_a_tenth_of_it_is() -> None:
    masks = torch.zeros(2, 32, 24, dtype=torch.bool)
    masks[0, 0, :6] = True  # 6 of 64 pixels
    masks[0, 8, :7] = True  # 7 of 64
    masks[1, 16:, 8:16] = True
    target = shrink_masks(masks, 4, 3)
    expected = torch.zeros(2, 4, 3)
    expected[0, 1, 0] = 1
    expected[1, 2:, 1] = 1
    assert torch.equal(target, expected)


def test_no_mask_is_no_target_and_a_full_one_is_all() -> None:
    assert shrink_masks(torch.zeros(1, 64, 64, dtype=torch.bool), 8, 8).sum() == 0
    assert shrink_masks(torch.ones(1, 64, 64, dtype=torch.bool), 8, 8).sum() == 64


@pytest.mark.parametrize("shape", [(1, 16, 8, 8), (3, 16, 12, 20)])
def test_a_logit_for_every_cell(shape: tuple[int, ...]) -> None:
    logits = SegmentationHead(16).eval()(torch.randn(shape))
    assert logits.shape == (shape[0], *shape[2:])


def test_only_the_size_of_a_residual_matters_and_only_up_to_the_ceiling() -> None:
    head, residual = SegmentationHead(6).eval(), torch.randn(1, 6, 4, 4)
    with torch.no_grad():
        assert torch.equal(head(residual), head(-residual))
        assert torch.equal(head(torch.full((1, 6, 4, 4), CEILING)), head(torch.full((1, 6, 4, 4), 100 * CEILING)))


def test_a_few_steps_lower_both_losses(batch: tuple[Tensor, Tensor]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = SegmentationHead(16).train()
    optimizer = torch.optim.Adam(head.parameters(), 2e-3)
    history = []
    for _ in range(6):
        losses = segmentation_losses(head(batch[0]), batch[1])
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    for name in ("focal", "l1"):
        assert history[-1][name] < history[0][name]
