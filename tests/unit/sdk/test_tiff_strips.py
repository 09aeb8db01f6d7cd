"""TIFFs whose compressed strips are damaged: libtiff reads them as another picture without a word."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.errors import DataError
from edgead.images import damage, decode

LZW, DEFLATE, ADOBE_DEFLATE, PACKBITS = 5, 8, 32946, 32773
COMPRESSIONS = (LZW, DEFLATE, ADOBE_DEFLATE, PACKBITS)


def picture(height: int, width: int, channels: int, kind: type = np.uint8) -> np.ndarray:
    """Smooth, with noise and an even part, so that every code of the compressions occurs."""
    random = np.random.default_rng(height * width + channels)
    y, x = np.mgrid[:height, :width]
    levels = 90 + 60 * np.sin(x / 31) + 40 * np.cos(y / 17)
    levels[: height // 4] = 50
    noise = random.integers(0, 9, (height, width, channels)) * (y > height // 2)[..., None]
    values = (levels[..., None] + noise).clip(0, 255)
    return (values * (1 if kind is np.uint8 else 257)).astype(kind)


def encoded(pixels: np.ndarray, compression: int, predictor: int = 1) -> bytes:
    flags = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
    return cv2.imencode(".tif", pixels, flags)[1].tobytes()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_whole_strips_are_whole(compression: int, kind: type, channels: int) -> None:
    for height, width in ((1, 1), (7, 300), (240, 320), (611, 97)):
        for predictor in (1, 2) if compression != PACKBITS else (1,):
            assert damage(encoded(picture(height, width, channels, kind), compression, predictor)) == ""


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_overwritten_strips_are_damaged(compression: int) -> None:
    raw = encoded(picture(240, 320, 3), compression)
    random = np.random.default_rng(0)
    for start in random.integers(len(raw) // 4, len(raw) - 700, 20):
        spoiled = bytearray(raw)
        spoiled[start : start + 400] = random.integers(0, 256, 400, dtype=np.uint8).tobytes()
        with pytest.raises(DataError, match=r"part\.tif is damaged \(.* in strip \d+ of \d+\)"):
            decode(bytes(spoiled), Path("part.tif"))


def test_one_changed_bit_of_a_deflate_stream_is_damage() -> None:
    raw = encoded(picture(240, 320, 3), DEFLATE)
    for at in range(len(raw) // 4, len(raw) - 700, len(raw) // 23):
        spoiled = bytearray(raw)
        spoiled[at] ^= 16
        assert "is damaged" in damage(bytes(spoiled))


def test_what_is_not_compressed_cannot_be_told() -> None:
    spoiled = bytearray(encoded(picture(40, 50, 1), 1))
    spoiled[500:600] = bytes(100)
    assert damage(bytes(spoiled)) == ""


@pytest.mark.parametrize("raw", [b"II*\0", b"MM\0*" + bytes(40), b"II*\0\x08\0\0\0" + b"\xff" * 300])
def test_no_header_breaks_the_check(raw: bytes) -> None:
    assert damage(raw) in ("", "is cut short")
