"""Projects pooled features to their principal components."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

COMPONENTS = 63  # principal components; with the constant beside them a row has 64 numbers
CHUNK = 16  # images at once


class Projection(NamedTuple):
    """From pooled taps to principal components: a matrix (D, C) and a shift (D,)."""

    weight: Tensor
    bias: Tensor


def fit_projection(cells: Tensor) -> Projection:
    """Standardization of every channel and the principal components of what comes out, as one affine map."""
    rows = cells.float().permute(0, 2, 3, 1).reshape(-1, cells.shape[1])
    mean, deviation = rows.mean(0), rows.std(0, correction=0).clamp(min=1e-6)
    standard = (rows - mean) / deviation
    _, vectors = torch.linalg.eigh((standard.T @ standard).double() / len(rows))
    main = vectors.flip(1)[:, :COMPONENTS].float().T  # eigh gives the smallest first
    weight = main / deviation
    return Projection(weight, -(weight @ mean))


def project(cells: Tensor, projection: Projection) -> Tensor:
    """(N, C, h, w), of any precision, to (N, D, h, w) in FP32."""
    weight = projection.weight[:, :, None, None]
    return torch.cat([functional.conv2d(one.float(), weight, projection.bias) for one in torch.split(cells, CHUNK)])
