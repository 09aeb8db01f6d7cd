"""Describes objects by vectors: one for the whole object (SAM-LAD, DCGA), and one of its features in their places.

The published formula (eq. 8) is degenerate: the gate is 0.5 everywhere, every object becomes a mixture of the others,
and one object alone becomes nothing. The gated form lets the gate multiply the feature, as in AGCA from which it was
taken, and adds a tenth of the mixture.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.types import MapF32, Mask

MIXED = 0.1  # of what the other objects look like, in the gated form
Form = Literal["gated", "gmp", "gap", "literal"]
Features = NDArray[np.float32]  # (C, h, w)
Vectors = NDArray[np.float32]  # (M, C)


def interpolate(levels: list[Features], height: int, width: int) -> Features:
    """Features (C, height, width): every level (c, h, w) interpolated bilinearly (half-pixel centers), one after the
    other."""
    return np.concatenate([_resized(level, height, width) for level in levels])


def pool(features: Features, masks: NDArray[np.bool_], form: Form) -> Vectors:
    """One vector an object, (M, C): the largest feature inside each mask (M, h, w) alone, or their mean for `gap`."""
    found = np.empty((len(masks), len(features)), np.float32)
    for row, mask in zip(found, masks, strict=True):
        inside = features[:, mask]
        row[...] = inside.mean(axis=1) if form == "gap" else inside.max(axis=1)
    return found


def describe(pooled: Vectors, form: Form) -> Vectors:
    """Descriptors (M, C) of the objects of one image, from their pooled features (M, C), not yet of unit length."""
    if form in ("gmp", "gap") or len(pooled) == 0:
        return pooled
    gate = _sigmoid(pooled * _softmax(pooled))
    if form == "literal":
        return np.asarray(_mixture(pooled) @ gate, np.float32)
    gated = pooled * gate
    return np.asarray(gated + np.float32(MIXED) * (_mixture(pooled) @ gated), np.float32)


def unit(vectors: Vectors) -> Vectors:
    """The vectors (M, C) at length 1; one of length 0 stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (the last two outside) of a mask that is not empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return x, y, x + width, y + height


def align(features: Features, mask: Mask, side: int) -> NDArray[np.float32]:
    """The features (C, h, w) inside a mask (h, w), 0 around it, its box brought to side x side: (C, side, side)."""
    left, top, right, bottom = box_of(mask)
    inside = features[:, top:bottom, left:right] * mask[top:bottom, left:right]
    return _resized(inside, side, side)


def align_map(values: MapF32, box: tuple[int, int, int, int]) -> MapF32:
    """The inverse for one map: (side, side) brought to the size of a box."""
    left, top, right, bottom = box
    return np.asarray(cv2.resize(values, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR), np.float32)


def _resized(values: Features, height: int, width: int) -> Features:
    """(C, h, w) at (C, height, width): two small matrices, since OpenCV resizes no hundred channels."""
    if values.shape[1:] == (height, width):
        return values
    down, across = _weights(values.shape[1], height), _weights(values.shape[2], width)
    return np.asarray(np.matmul(np.matmul(down, values), across.T), np.float32)


def _weights(before: int, after: int) -> NDArray[np.float32]:
    """The matrix (after, before) that interpolates bilinearly, edges replicated; shrinking averages what it covers."""
    centers = (np.arange(after) + 0.5) * before / after - 0.5
    reach = max(1.0, before / after)
    weights = np.maximum(0, 1 - np.abs(np.arange(-1, before + 1)[None] - centers[:, None]) / reach)
    weights[:, 1] += weights[:, 0]  # what lies beyond an edge is the edge
    weights[:, -2] += weights[:, -1]
    weights = weights[:, 1:-1]
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _mixture(pooled: Vectors) -> Vectors:
    """A2 (M, M): how alike the other objects are, rows of sum 1 and a diagonal of 0; 0 for one object alone."""
    directions = unit(pooled)
    alike = np.maximum(directions @ directions.T, 0)
    np.fill_diagonal(alike, 0)
    return np.asarray(alike / (alike.sum(axis=1, keepdims=True) + np.float32(1e-6)), np.float32)


def _softmax(values: Vectors) -> Vectors:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _sigmoid(values: Vectors) -> Vectors:
    return np.asarray(1 / (1 + np.exp(-values)), np.float32)
