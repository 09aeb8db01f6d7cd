"""Chooses centers among rows: the greedy choice that no row is far from (Gonzalez, 1985), as PatchCore's coreset.

One product with all rows a center would read them as often as there are centers; here a few hundred rows are looked at
for each reading, and the centers are those of the plain choice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

DIRECTIONS = 32  # random directions in which centers are chosen (a Johnson-Lindenstrauss projection)
POOL = 256  # rows among which centers are chosen before all are looked at again


def k_centers(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of `count` rows (M, D), each the one farthest from those before it; all where there are no more.

    Distances are taken in `DIRECTIONS` random directions, which keep them within a few percent. The farthest rows are
    looked at apart from the others as long as one of them is the farthest of all, since distances only shrink: then
    those that were chosen are compared with all rows at once.
    """
    if len(rows) <= count:
        return torch.arange(len(rows))
    projected = rows @ torch.randn(rows.shape[1], DIRECTIONS, generator=generator)
    lengths = (projected * projected).sum(1)
    nearest = torch.full((len(rows),), torch.inf)
    chosen = fresh = [0]
    while True:
        last = projected[fresh]
        found = torch.addmm(lengths[fresh][:, None], last, projected.T, alpha=-2)
        torch.minimum(nearest, found.amin(0) + lengths, out=nearest)
        if len(chosen) == count:
            return torch.tensor(chosen)
        fresh = _farthest(projected, lengths, nearest, count - len(chosen))
        chosen = chosen + fresh


def _farthest(projected: Tensor, lengths: Tensor, nearest: Tensor, most: int) -> list[int]:
    """The next centers, at most so many, as long as they are among the `POOL` rows that are farthest now."""
    values, pool = nearest.topk(min(POOL, len(nearest)))
    outside = float(values[-1])  # no other row is farther
    some = projected[pool]
    between = (lengths[pool][:, None] + lengths[pool] - 2 * (some @ some.T)).numpy()
    distances, new = values.numpy(), list[int]()
    while len(new) < most:
        best = int(distances.argmax())
        if new and distances[best] <= outside:
            break
        new.append(best)
        np.minimum(distances, between[best], out=distances)
    return [int(index) for index in pool[new]]
