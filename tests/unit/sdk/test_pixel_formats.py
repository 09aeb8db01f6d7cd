"""Pixel formats of industrial cameras, against a reading of the standard bit by bit and a demosaicing of our own."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.stream.sources.pixels import CODES, parse_format, to_bgr

WIDTH, HEIGHT = 22, 12
PATTERNS = {"BayerRG": "RGGB", "BayerGR": "GRBG", "BayerGB": "GBRG", "BayerBG": "BGGR"}
EVERY = sorted({name for name in CODES.values() if name.startswith(("Mono", "Bayer"))})


def pack(pixels: NDArray[np.int64], bits: int, packing: str) -> bytes:
    """The bytes of pixels, one bit after the other."""
    values = pixels.reshape(-1).tolist()
    if packing == "Packed":
        low = bits - 8
        out = bytearray()
        for at in range(0, len(values), 2):
            first, second = values[at], values[at + 1] if at + 1 < len(values) else 0
            low_bits = (first & ((1 << low) - 1)) | (second & ((1 << low) - 1)) << 4
            out += bytes([first >> low, low_bits, second >> low])
        return bytes(out)
    if packing == "p":
        stream = "".join(format(value, f"0{bits}b")[::-1] for value in values)
        stream += "0" * (-len(stream) % 8)
        return bytes(int(stream[at : at + 8][::-1], 2) for at in range(0, len(stream), 8))
    return pixels.astype(np.uint8 if bits == 8 else "<u2").tobytes()


def scene(bits: int) -> NDArray[np.float64]:
    """A smooth picture in (height, width, BGR), in units of full scale, with its darkest and brightest values."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [x / (WIDTH - 1), y / (HEIGHT - 1), (x + y) / (WIDTH + HEIGHT - 2)]
    return np.stack(planes, axis=2) * ((1 << bits) - 1)


def bilinear(mosaic: NDArray[np.float64], pattern: str) -> NDArray[np.float64]:
    """Each color as the mean of its nearest samples."""
    out = np.zeros((HEIGHT, WIDTH, 3))
    for color, letter in enumerate("BGR"):
        places = np.array([[pattern[2 * (y % 2) + x % 2] == letter for x in range(WIDTH)] for y in range(HEIGHT)])
        for y in range(1, HEIGHT - 1):
            for x in range(1, WIDTH - 1):
                near = [(0, 0)] if places[y, x] else [(0, -1), (0, 1), (-1, 0), (1, 0)]
                found = [mosaic[y + dy, x + dx] for dy, dx in near if places[y + dy, x + dx]]
                corners = [mosaic[y + dy, x + dx] for dy in (-1, 1) for dx in (-1, 1) if places[y + dy, x + dx]]
                out[y, x, color] = np.mean(found or corners)
    return out


@pytest.mark.parametrize("name", EVERY)
def test_every_format_equals_its_reference_within_one_level(name: str) -> None:
    found = parse_format(name)
    full = (1 << found.bits) - 1
    colors = scene(found.bits)
    if found.mosaic == "Mono":
        pixels = colors[..., 2].round().astype(np.int64)
        wanted = np.repeat(pixels[..., None] * 255 / full, 3, axis=2)
    else:
        pattern = PATTERNS[found.mosaic]
        plane = np.array([["BGR".index(pattern[2 * (y % 2) + x % 2]) for x in range(WIDTH)] for y in range(HEIGHT)])
        pixels = np.take_along_axis(colors, plane[..., None], 2)[..., 0].round().astype(np.int64)
        wanted = bilinear(pixels * 255 / full, pattern)
    image = to_bgr(pack(pixels, found.bits, found.packing), WIDTH, HEIGHT, name)
    assert image.dtype == np.uint8
    inside = (slice(1, -1), slice(1, -1)) if found.mosaic != "Mono" else (slice(None), slice(None))
    assert np.abs(image[inside].astype(float) - wanted[inside]).max() <= 1.0


@pytest.mark.parametrize("name", ["Mono10p", "Mono12p", "Mono10Packed", "Mono12Packed"])
def test_every_bit_pattern_survives_packing_at_odd_sizes(name: str) -> None:
    found = parse_format(name)
    full = (1 << found.bits) - 1
    pixels = np.random.default_rng(1).integers(0, full + 1, 35)
    image = to_bgr(pack(pixels, found.bits, found.packing), 7, 5, name)
    assert np.abs(image[..., 0].reshape(-1) - pixels * 255 / full).max() <= 0.5


def test_full_scale_stays_full_scale() -> None:
    for bits in (10, 12, 14, 16):
        pixels = np.array([[0, (1 << bits) - 1]])
        assert to_bgr(pack(pixels, bits, ""), 2, 1, f"Mono{bits}")[0, :, 0].tolist() == [0, 255]


def test_colors() -> None:
    red = np.zeros((2, 4, 3), np.uint8)
    red[..., 0] = 200
    assert (to_bgr(red.tobytes(), 4, 2, "RGB8") == [0, 0, 200]).all()
    assert (to_bgr(red.tobytes(), 4, 2, "BGR8") == [200, 0, 0]).all()
    gray = np.array([128, 90] * 8, np.uint8).reshape(2, 4, 2)
    assert np.ptp(to_bgr(gray.tobytes(), 4, 2, "YUV422_8_UYVY")) == 0
    assert np.ptp(to_bgr(gray[..., ::-1].tobytes(), 4, 2, "YUV422_8")) == 0


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [(b"123", "Mono8", "3 bytes instead of 4"), (b"1" * 9, "Coord3D_C16", "not known"), (b"", "Mono9p", "not known")],
)
def test_what_is_no_picture_is_said(data: bytes, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        to_bgr(data, 2, 2, name)
