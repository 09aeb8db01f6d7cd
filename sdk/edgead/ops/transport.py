"""Assigns objects to objects: optimal transport with a dustbin, and the Hungarian method (SAM-LAD, OMM).

Sinkhorn's iterations are SuperGlue's (Sarlin et al., CVPR 2020): scores (M, N) get a row and a column of one more value
each, the dustbin, to which whatever has no counterpart goes. They run on logarithms, so that no score over- or
underflows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SURE = 0.2  # of an object's share of the transport, that a match must have (SuperGlue's test)
Scores = NDArray[np.float32]  # (M, N), higher is more alike
Pairs = NDArray[np.intp]  # (P, 2): rows and columns that belong together, by rising row


def sinkhorn(scores: Scores, dustbin: float, iterations: int = 50) -> Scores:
    """The transport plan (M + 1, N + 1) float32 between M and N objects, the dustbins last.

    Every object has the mass 1, each dustbin as much as the other side has objects. `scores` and `dustbin` are in units
    of the temperature. M and N must be above 0.
    """
    rows, columns = scores.shape
    full = np.full((rows + 1, columns + 1), dustbin, np.float32)
    full[:rows, :columns] = scores
    norm = np.float32(-np.log(rows + columns))
    mu = np.full(rows + 1, norm, np.float32)
    nu = np.full(columns + 1, norm, np.float32)
    mu[-1] += np.log(np.float32(columns))
    nu[-1] += np.log(np.float32(rows))
    u, v = np.zeros_like(mu), np.zeros_like(nu)
    for _ in range(iterations):
        u = mu - _log_sum_exp(full + v, axis=1)
        v = nu - _log_sum_exp(full + u[:, None], axis=0)
    return np.asarray(np.exp(full + u[:, None] + v - norm), np.float32)


def match_sinkhorn(scores: Scores, dustbin: float, iterations: int = 50) -> Pairs:
    """The pairs that are each other's largest share of the transport, if more than `SURE` of an object."""
    if 0 in scores.shape:
        return np.empty((0, 2), np.intp)
    plan = sinkhorn(scores, dustbin, iterations)[:-1, :-1]
    best, back = plan.argmax(axis=1), plan.argmax(axis=0)
    rows = np.arange(len(plan))
    kept = (back[best] == rows) & (plan[rows, best] > SURE)
    return np.stack([rows[kept], best[kept]], axis=1)


def match_hungarian(scores: Scores, least: float) -> Pairs:
    """The pairs of the assignment with the largest sum of scores, without those that score `least` or less."""
    pairs = assign(-scores.astype(np.float64))
    kept = scores[pairs[:, 0], pairs[:, 1]] > least
    return pairs[kept]


def assign(costs: NDArray[np.float64]) -> Pairs:
    """min(M, N) pairs of least total cost, by shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987)."""
    if 0 in costs.shape:
        return np.empty((0, 2), np.intp)
    if costs.shape[0] > costs.shape[1]:
        pairs = assign(np.ascontiguousarray(costs.T))[:, ::-1]
        return np.asarray(pairs[np.argsort(pairs[:, 0], kind="stable")])
    rows, columns = costs.shape
    potentials, prices = np.zeros(rows + 1), np.zeros(columns + 1)
    owner = np.zeros(columns + 1, np.intp)  # the row, from 1, that each column has; 0: none. Column 0 is the start
    for row in range(1, rows + 1):
        owner[0] = row
        _augment(costs, potentials, prices, owner)
    taken = np.flatnonzero(owner[1:])
    pairs = np.stack([owner[1:][taken] - 1, taken], axis=1)
    return np.asarray(pairs[np.argsort(pairs[:, 0], kind="stable")])


def _augment(
    costs: NDArray[np.float64], potentials: NDArray[np.float64], prices: NDArray[np.float64], owner: NDArray[np.intp]
) -> None:
    """Find the row in `owner[0]` a column, moving others where that is cheaper."""
    columns = len(prices) - 1
    least = np.full(columns + 1, np.inf)
    before = np.zeros(columns + 1, np.intp)
    used = np.zeros(columns + 1, np.bool_)
    column = 0
    while owner[column]:
        used[column] = True
        row = owner[column]
        reduced = costs[row - 1] - potentials[row] - prices[1:]
        free = ~used[1:]
        nearer = free & (reduced < least[1:])
        least[1:][nearer] = reduced[nearer]
        before[1:][nearer] = column
        following = 1 + int(np.where(free, least[1:], np.inf).argmin())
        step = least[following]
        potentials[owner[used]] += step
        prices[used] -= step
        least[~used] -= step
        column = following
    while column:
        owner[column] = owner[before[column]]
        column = int(before[column])


def _log_sum_exp(values: Scores, axis: int) -> Scores:
    most = values.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(values - most).sum(axis=axis)) + most.squeeze(axis), np.float32)
