"""Measures features against their counterparts by a Gaussian at every position (SAM-LAD, AMM).

Sigma = D D^T / (k - 1) + eps I has one column in D for each of the k counterparts and hundreds of rows, so that no
inverse of its size is needed: for k = 2 there is a closed form, for larger k Woodbury's identity with a k x k solve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.types import MapF32

EPSILON = 0.01  # of the covariance's diagonal (PaDiM's value; the paper has none)
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured of the objects of one picture; M objects, S slots. Costs are raw, before any scale."""

    slots: NDArray[np.intp]  # (M,): each object's slot, -1 where it is extra
    missing: tuple[int, ...]  # slots
    appearance: Vectors  # (M,)
    place: Vectors
    size: Vectors
    surface: Vectors
    maps: list[MapF32]  # the features' distance at every cell of each object's box (AMM)
    closest: NDArray[np.intp]  # (M,): kinds by appearance alone
    fits: Vectors  # (M,): the appearance as one of the closest kind, in standard deviations


def mahalanobis(query: Vectors, counterparts: Vectors, epsilon: float = EPSILON) -> Vectors:
    """The distance (P,) of features (P, C) from the Gaussian of their k counterparts (k, P, C), at each position.

    In FP32 and never the root of something negative. With one counterpart it is the difference over sqrt(eps).
    """
    count = len(counterparts)
    away = query - counterparts.mean(axis=0)
    squares = np.einsum("pc,pc->p", away, away)
    if count == 2:
        between = counterparts[0] - counterparts[1]
        along = np.einsum("pc,pc->p", between, away)
        squares = squares - along**2 / (2 * epsilon + np.einsum("pc,pc->p", between, between))
    elif count > 2:
        spread = (counterparts - counterparts.mean(axis=0)) / np.float32(np.sqrt(count - 1))  # D / sqrt(k - 1)
        along = np.einsum("kpc,pc->pk", spread, away)
        inner = np.einsum("kpc,lpc->pkl", spread, spread) + np.float32(epsilon) * np.eye(count, dtype=np.float32)
        squares = squares - np.einsum("pk,pk->p", along, np.linalg.solve(inner, along[..., None])[..., 0])
    return np.asarray(np.sqrt(np.maximum(squares, 0) / np.float32(epsilon)), np.float32)
