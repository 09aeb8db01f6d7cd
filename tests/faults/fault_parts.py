"""Pictures that say in their own pixels which part they show and whether it was planted bad."""

from __future__ import annotations

import cv2
import numpy as np
import tiny

_CELL, _DARK, _LIGHT = 8, 30, 66  # pixels and levels of a bit; both levels are those of a good part
_BITS = 16  # 14 of the number, one of whether it is bad, one of parity


def picture(number: int, bad: bool) -> np.ndarray:
    """Part `number`, (48, 64, 3) BGR uint8."""
    image = tiny.bad(number) if bad else tiny.good(number)
    value = (number & 0x3FFF) << 1 | bad
    value = value << 1 | value.bit_count() & 1
    for bit in range(_BITS):
        y, x = _CELL * (bit // 8), _CELL * (bit % 8)
        image[y : y + _CELL, x : x + _CELL] = _LIGHT if value >> bit & 1 else _DARK
    return image


def jpeg(number: int, bad: bool) -> bytes:
    return cv2.imencode(".jpg", picture(number, bad), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def read(image: np.ndarray) -> tuple[int, bool, bool]:
    """Number, whether it was planted bad, and whether the picture is the one that was sent."""
    value, sure = 0, image.shape == (48, 64, 3)
    for bit in range(_BITS if sure else 0):
        y, x = _CELL * (bit // 8), _CELL * (bit % 8)
        level = float(image[y + 2 : y + 6, x + 2 : x + 6].mean())
        sure = sure and min(abs(level - _DARK), abs(level - _LIGHT)) < 9
        value |= (level > (_DARK + _LIGHT) / 2) << bit
    return value >> 2, bool(value >> 1 & 1), sure and value.bit_count() % 2 == 0
