"""Computes means over more images than fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

Moments = tuple[int, Tensor, Tensor]  # samples, their mean, the mean of their squares; float64


def moments(batches: Iterable[Sequence[Tensor]]) -> list[Moments]:
    """The moments of several quantities at once, over batches that hold one tensor for each.

    The first dimension counts samples. The square of a vector (a batch of rank 2) is its outer product with
    itself, that of any other sample is taken element by element.
    """
    sums: list[Moments] = []
    for batch in batches:
        sums = add_sums(sums, batch)
    return means(sums)


def add_sums(sums: list[Moments], batch: Sequence[Tensor]) -> list[Moments]:
    """Sums in place of the means, grown by a batch; begin with none."""
    new = [_sums(samples.double()) for samples in batch]
    return [(n + m, a + c, b + d) for (n, a, b), (m, c, d) in zip(sums, new, strict=True)] if sums else new


def means(sums: Sequence[Moments]) -> list[Moments]:
    """The moments that sums over samples give."""
    return [(count, total / count, squares / count) for count, total, squares in sums]


def _sums(samples: Tensor) -> Moments:
    squares = samples.T @ samples if samples.ndim == 2 else (samples * samples).sum(0)
    return len(samples), samples.sum(0), squares
