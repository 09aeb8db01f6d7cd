"""The greedy choice of centers against the plain one in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgead_tools.layers.k_centers import DIRECTIONS, POOL, k_centers

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("rows", "count"), [(60, 12), (8 * POOL, 300)])
def test_centers_are_the_farthest_from_those_before(rows: int, count: int) -> None:
    cells = torch.randn(rows, 9, generator=torch.Generator().manual_seed(1))
    found = k_centers(cells, count, torch.Generator().manual_seed(2)).tolist()
    directions = torch.randn(9, DIRECTIONS, generator=torch.Generator().manual_seed(2))
    sketch = (cells @ directions).double().numpy()
    chosen, away = [0], ((sketch - sketch[0]) ** 2).sum(1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, ((sketch - sketch[chosen[-1]]) ** 2).sum(1))
    assert found == chosen


def test_rows_that_are_alike_can_be_centers_too() -> None:
    assert len(k_centers(torch.ones(2 * POOL, 4), POOL + 9, torch.Generator())) == POOL + 9


def test_few_rows_are_all_taken() -> None:
    assert k_centers(torch.ones(3, 4), 12, torch.Generator()).tolist() == [0, 1, 2]
