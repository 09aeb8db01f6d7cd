"""Augments good images: what a part looks like that was placed or lit a little differently."""

from __future__ import annotations

import cv2
import numpy as np

from edgead.types import ImageU8

SHIFT = 0.015  # of the side
ZOOM = 0.02
CONTRAST = 0.08
BRIGHTNESS = 5.0  # gray levels
GRAY = (114, 114, 114)  # what `turn` fills with


def augment(image: ImageU8, random: np.random.Generator, *, flips: bool, rotation: float) -> ImageU8:
    """A new image (H, W, 3): turned by up to `rotation` degrees, moved, zoomed and lit a little, mirrored if `flips`.

    What comes in from outside the frame is the frame's own reflection.
    """
    height, width = image.shape[:2]
    mirror_x, mirror_y = random.random(2) < 0.5
    turn, zoom = random.uniform(-rotation, rotation), random.uniform(1 - ZOOM, 1 + ZOOM)
    move = random.uniform(-SHIFT, SHIFT, 2) * (width, height)
    contrast, brightness = random.uniform(1 - CONTRAST, 1 + CONTRAST), random.uniform(-BRIGHTNESS, BRIGHTNESS)
    if flips:
        image = image[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, zoom)
    matrix = matrix + np.array([[0, 0, move[0]], [0, 0, move[1]]])
    moved = cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(cv2.addWeighted(moved, contrast, moved, 0.0, brightness), np.uint8)


LIGHT = 0.03  # share of the brightness


def nudged(image: ImageU8, random: np.random.Generator, *, pixels: float, degrees: float) -> ImageU8:
    """A new image (H, W, 3): moved by up to `pixels` in both directions, turned by up to `degrees`, zoomed and lit a
    little. What comes in from outside the frame is the frame's own reflection."""
    height, width = image.shape[:2]
    turn, zoom = random.uniform(-degrees, degrees), random.uniform(1 - ZOOM, 1 + ZOOM)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, zoom)
    move = random.uniform(-pixels, pixels, 2)
    matrix = matrix + np.array([[0, 0, move[0]], [0, 0, move[1]]])
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.convertScaleAbs(moved, alpha=random.uniform(1 - LIGHT, 1 + LIGHT)), np.uint8)


def turned(image: ImageU8, degrees: float) -> ImageU8:
    """A new image (H, W, 3), turned about its center; what comes in from outside is the frame's own reflection."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    found = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(found, np.uint8)


def turn(image: ImageU8, random: np.random.Generator, *, quarters: bool, degrees: float) -> ImageU8:
    """A new image (H, W, 3), turned about its center by up to `degrees` either way, and by 0, 90, 180 or 270 before
    where `quarters`. What comes in from outside the frame is gray (DeSTSeg's and STLM's augmentation)."""
    height, width = image.shape[:2]
    angle = 90.0 * int(random.integers(4)) * quarters + random.uniform(-degrees, degrees)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    turned = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=GRAY
    )
    return np.asarray(turned, np.uint8)


JITTER = 0.2  # of brightness, contrast or saturation


def jitter(image: ImageU8, random: np.random.Generator) -> ImageU8:
    """A new image (H, W, 3) with another brightness, contrast or saturation (one of the three; CSAD, 4.4)."""
    factor = float(random.uniform(1 - JITTER, 1 + JITTER))
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    base = (
        np.zeros_like(image),
        np.full_like(image, round(float(gray.mean()))),
        cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR),
    )[random.integers(3)]
    return np.asarray(cv2.addWeighted(image, factor, base, 1 - factor, 0.0), np.uint8)
