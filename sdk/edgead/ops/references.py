"""Holds the objects of good images, with which those of a picture are matched, and finds the nearest images."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.draft import Model
from edgead.bundle.matching import MatchingSpec
from edgead.errors import BundleError
from edgead.ops.descriptors import Features, Vectors, unit
from edgead.ops.scene import Scene
from edgead.types import Labels, Mask

CHUNK = 256  # images of the bank that are compared at once, in FP32


@dataclass(frozen=True, eq=False)
class References:
    """Good images and their M objects, in the order of images and, in each, from top to bottom."""

    spec: MatchingSpec
    bank: NDArray[np.float16]  # (N, D): the images' features on a coarse grid
    labels: Labels  # (N, h, w): each image's objects, numbered from 1
    table: NDArray[np.float32]  # (M, 5): image, slot, x, y and area
    center: Vectors  # (C,): the mean descriptor
    away: Vectors  # (M, C): descriptors without the mean
    raw_boxes: NDArray[np.float16]  # (M, C * box * box)
    mean_box: Vectors  # (C * box * box,)
    components: Vectors  # (D, C * box * box): what boxes are compared in
    scenery: Mask | None = None  # (H, W)

    @cached_property
    def images(self) -> NDArray[np.intp]:
        """(M,): the image of every object."""
        return self.table[:, 0].astype(np.intp)

    @cached_property
    def slots(self) -> NDArray[np.intp]:
        """(M,): the slot of every object."""
        return self.table[:, 1].astype(np.intp)

    @cached_property
    def kinds(self) -> NDArray[np.intp]:
        """(M,): the kind of every object."""
        return np.array([slot.kind for slot in self.spec.slots], np.intp)[self.slots]

    @cached_property
    def places(self) -> Vectors:
        """(M, 3): x, y and area of every object."""
        return np.ascontiguousarray(self.table[:, 2:])

    @cached_property
    def descriptors(self) -> Vectors:
        """(M, C): `away` at length 1."""
        return unit(self.away)

    @cached_property
    def boxes(self) -> Vectors:
        """(M, D): the boxes in these components."""
        rows = [self._project(self.raw_boxes[at : at + CHUNK]) for at in range(0, len(self.raw_boxes), CHUNK)]
        return np.concatenate(rows)

    @cached_property
    def directions(self) -> Vectors:
        """(M, D): `boxes` at length 1."""
        return unit(self.boxes)

    @cached_property
    def _squares(self) -> NDArray[np.float32]:
        rows = [self.bank[at : at + CHUNK].astype(np.float32) for at in range(0, len(self.bank), CHUNK)]
        return np.concatenate([np.einsum("nd,nd->n", one, one) for one in rows])

    def project(self, scene: Scene) -> tuple[Vectors, Vectors]:
        """The descriptors (M, C) and boxes (M, D) of a scene's objects, as those here are."""
        return unit(scene.described - self.center), self._project(scene.boxes)

    def _project(self, boxes: NDArray[Any]) -> Vectors:
        return np.asarray((boxes.astype(np.float32) - self.mean_box) @ self.components.T, np.float32)

    def nearest(self, scene: Scene, without: Collection[int] = ()) -> list[int]:
        """The k images whose features are nearest to a scene's by the Euclidean distance, the nearest first."""
        key = scene.key(*self._grid).astype(np.float32)
        products = [self.bank[at : at + CHUNK].astype(np.float32) @ key for at in range(0, len(self.bank), CHUNK)]
        distances = self._squares - 2 * np.concatenate(products)
        distances[list(without)] = np.inf
        order = np.argsort(distances, kind="stable")[: self.spec.neighbors]
        return [int(index) for index in order if np.isfinite(distances[index])]

    @property
    def _grid(self) -> tuple[int, int]:
        return self.spec.bank_height, self.spec.bank_width

    def features(self, image: int) -> Features:
        """The features of an image of the bank, on the bank's grid (C, h, w)."""
        stored = self.bank[image].astype(np.float32)
        return np.asarray(stored.reshape(-1, *self._grid), np.float32)

    def scene_of(self, image: int) -> Scene:
        """The scene of an image of the bank, with its features on the bank's grid alone."""
        rows = self.objects_of(image)
        masks = self.labels[image][None] == np.arange(1, len(rows) + 1)[:, None, None]
        boxes = self.raw_boxes[rows].astype(np.float32)
        return Scene(self.places[rows], masks, (self.features(image),), self.center + self.away[rows], boxes)

    def distance_to_nearest(self, scene: Scene) -> float:
        """How far the nearest image's features are from a scene's, over the length of the scene's: 0 is the same."""
        key = scene.key(*self._grid).astype(np.float32)
        nearest = self.bank[self.nearest(scene)[0]].astype(np.float32)
        return float(np.linalg.norm(nearest - key)) / max(float(np.linalg.norm(key)), 1e-9)

    def objects_of(self, image: int) -> NDArray[np.intp]:
        """Which objects are an image's."""
        return np.flatnonzero(self.images == image)

    def mask_of(self, slot: int) -> Mask:
        """Where an object of that slot lies, (h, w): that of the image in which it is nearest to its mean place."""
        rows = np.flatnonzero(self.slots == slot)
        one = self.spec.slots[slot]
        away = np.hypot(self.places[rows, 0] - one.x, self.places[rows, 1] - one.y)
        row = int(rows[away.argmin()])
        image = self.images[row]
        number = 1 + row - int(self.objects_of(image)[0])
        return np.asarray(self.labels[image] == number)


def load_references(bundle: Model) -> References | None:
    """What a bundle's fusion says of matching, or None where it has none; raises BundleError for members that do not
    fit."""
    spec = bundle.manifest.fusion.matching
    if spec is None:
        return None
    inputs = bundle.manifest.input
    objects = _member(bundle, spec.objects, np.float32, (None, 5))
    descriptors = _member(bundle, spec.descriptors, np.float32, (1 + len(objects), None))
    channels = descriptors.shape[1]
    length = channels * spec.box**2
    bank = _member(bundle, spec.bank, np.float16, (None, channels * spec.bank_height * spec.bank_width))
    labels = _member(bundle, spec.labels, np.uint8, (len(bank), spec.height, spec.width))
    projection = _member(bundle, spec.projection, np.float32, (None, length))
    boxes = _member(bundle, spec.boxes, np.float16, (len(objects), length))
    scenery = spec.proposals.scenery
    found = References(
        spec, bank, labels, objects, descriptors[0], descriptors[1:], boxes, projection[0], projection[1:],
        None if scenery is None else _member(bundle, scenery, np.bool_, (inputs.height, inputs.width)),
    )  # fmt: skip
    _check_table(found)
    return found


def _check_table(references: References) -> None:
    """Raise BundleError where the table of objects names what is not there."""
    table, spec = references.table, references.spec
    images, slots = table[:, 0], table[:, 1]
    whole = np.array_equal(table[:, :2], np.floor(table[:, :2]))
    inside = whole and (images >= 0).all() and (images < len(references.bank)).all()
    inside = inside and (np.diff(images) >= 0).all() and (slots >= 0).all() and (slots < len(spec.slots)).all()
    numbered = inside and np.array_equal(
        np.bincount(references.images, minlength=len(references.bank)),
        references.labels.reshape(len(references.bank), -1).max(axis=1),
    )
    if not numbered or not (table[:, 4] > 0).all() or len(set(slots)) < len(spec.slots):
        raise BundleError(f"'{spec.objects}' does not fit the bank and its slots: build the bundle again")
    if len(references.components) < 1:
        raise BundleError(f"'{spec.projection}' has no component: build the bundle again")


def _member(bundle: Model, name: str, kind: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """An array of that type and shape, finite; None leaves a size open, which must not be 0."""
    raw = bundle.read(name)
    try:
        values = np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BundleError(f"'{name}' cannot be read: {error}; build the bundle again") from error
    fits = isinstance(values, np.ndarray) and values.dtype == kind and values.ndim == len(shape)
    if not fits or any(want not in (None, have) or not have for have, want in zip(values.shape, shape, strict=True)):
        sizes = " x ".join("any" if size is None else str(size) for size in shape)
        raise BundleError(f"'{name}' holds no {kind.__name__} of {sizes}: build the bundle again")
    if not np.isfinite(values).all():
        raise BundleError(f"'{name}' holds what is no number: build the bundle again")
    return np.asarray(values)
