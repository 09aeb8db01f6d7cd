"""Converts the pixel formats of industrial cameras (GenICam PFNC) to (H, W, 3) BGR uint8. Pure.

`p` formats are packed from the lowest bit on, without gaps; `Packed` ones are GigE Vision's own, two pixels in three
bytes with the low bits in the middle byte. What has more than 8 bits is scaled so that full scale stays full scale,
within half a gray level. Bayer mosaics are interpolated bilinearly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.types import ImageU8

_NAME = re.compile(r"(Mono|BayerRG|BayerGR|BayerGB|BayerBG)(8|10|12|14|16)(p|Packed)?")
_COLORS = ("RGB8", "BGR8", "YUV422_8", "YUV422_8_UYVY")
_MOSAICS = {  # by the first two pixels of the first row
    "BayerRG": cv2.COLOR_BayerRGGB2BGR,
    "BayerGR": cv2.COLOR_BayerGRBG2BGR,
    "BayerGB": cv2.COLOR_BayerGBRG2BGR,
    "BayerBG": cv2.COLOR_BayerBGGR2BGR,
}
CODES = {  # PFNC's 32-bit numbers, as a stream states them
    0x01080001: "Mono8",
    0x01100003: "Mono10",
    0x01100005: "Mono12",
    0x01100025: "Mono14",
    0x01100007: "Mono16",
    0x010A0046: "Mono10p",
    0x010C0047: "Mono12p",
    0x010C0004: "Mono10Packed",
    0x010C0006: "Mono12Packed",
    0x01080008: "BayerGR8",
    0x01080009: "BayerRG8",
    0x0108000A: "BayerGB8",
    0x0108000B: "BayerBG8",
    0x0110000C: "BayerGR10",
    0x0110000D: "BayerRG10",
    0x0110000E: "BayerGB10",
    0x0110000F: "BayerBG10",
    0x01100010: "BayerGR12",
    0x01100011: "BayerRG12",
    0x01100012: "BayerGB12",
    0x01100013: "BayerBG12",
    0x0110002E: "BayerGR16",
    0x0110002F: "BayerRG16",
    0x01100030: "BayerGB16",
    0x01100031: "BayerBG16",
    0x010A0056: "BayerGR10p",
    0x010A0058: "BayerRG10p",
    0x010A0054: "BayerGB10p",
    0x010A0052: "BayerBG10p",
    0x010C0057: "BayerGR12p",
    0x010C0059: "BayerRG12p",
    0x010C0055: "BayerGB12p",
    0x010C0053: "BayerBG12p",
    0x010C002A: "BayerGR12Packed",
    0x010C002B: "BayerRG12Packed",
    0x010C002C: "BayerGB12Packed",
    0x010C002D: "BayerBG12Packed",
    0x02180014: "RGB8",
    0x02180015: "BGR8",
    0x02100032: "YUV422_8",
    0x0210001F: "YUV422_8_UYVY",
}


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """What a format's name says."""

    mosaic: str  # Mono or Bayer with the first two colors; "" where pixels are colors already
    bits: int
    packing: str  # "", p or Packed


def parse_format(name: str) -> PixelFormat:
    """The format of that name; raises DataError for one that is not known here."""
    match = _NAME.fullmatch(name)
    if match is not None:
        packing, bits = match[3] or "", int(match[2])
        if not packing or (bits in (10, 12) and not (packing == "Packed" and bits == 10 and match[1] != "Mono")):
            return PixelFormat(match[1], bits, packing)
    if name in _COLORS:
        return PixelFormat("", 8, "")
    raise DataError(f"the pixel format {name} is not known here: set the camera to Mono8, BayerRG8 or another of those")


def _empty(shape: tuple[int, ...]) -> ImageU8:
    return np.empty(shape, np.uint8)


def to_bgr(
    data: bytes | memoryview, width: int, height: int, name: str, empty: Callable[[tuple[int, ...]], ImageU8] = _empty
) -> ImageU8:
    """A picture as the camera sends it, row after row without gaps, as (height, width, 3) BGR uint8.

    `empty` gives the array that it is written into.
    Raises DataError for an unknown format, or where there are fewer bytes than the picture needs.
    """
    found = parse_format(name)
    if not found.mosaic:
        colors = _bytes(data, width * height * (2 if name.startswith("YUV") else 3))
        out = empty((height, width, 3))
        _write_colors(colors, name, out)
        return out
    pixels = _unpacked(data, width * height, found).reshape(height, width)
    gray = _to_8_bits(pixels, found.bits)
    code = cv2.COLOR_GRAY2BGR if found.mosaic == "Mono" else _MOSAICS[found.mosaic]
    return np.asarray(cv2.cvtColor(gray, code, dst=empty((height, width, 3))), np.uint8)


def _bytes(data: bytes | memoryview, wanted: int) -> NDArray[np.uint8]:
    if len(data) < wanted:
        raise DataError(f"the picture has {len(data)} bytes instead of {wanted}")
    return np.frombuffer(data, np.uint8, wanted)


def _unpacked(data: bytes | memoryview, count: int, found: PixelFormat) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The pixels one after the other, in the low bits of each."""
    if found.bits == 8:
        return _bytes(data, count)
    if not found.packing:
        return _bytes(data, 2 * count).view("<u2").astype(np.uint16)
    if found.packing == "Packed":
        return _gige_packed(data, count, found.bits)
    group, size = (4, 5) if found.bits == 10 else (2, 3)
    groups = -(-count // group)
    raw = _padded(data, -(-count * found.bits // 8), groups * size).reshape(groups, size).astype(np.uint64)
    whole = sum((raw[:, at] << np.uint64(8 * at) for at in range(size)), np.zeros(groups, np.uint64))
    mask = np.uint64((1 << found.bits) - 1)
    pixels = [(whole >> np.uint64(found.bits * at)) & mask for at in range(group)]
    return np.stack(pixels, axis=1).reshape(-1)[:count].astype(np.uint16)


def _gige_packed(data: bytes | memoryview, count: int, bits: int) -> NDArray[np.uint16]:
    """Two pixels in three bytes: the high 8 bits of each around their low bits."""
    groups = -(-count // 2)
    needed = 3 * (count // 2) + 2 * (count % 2)
    raw = _padded(data, needed, 3 * groups).reshape(groups, 3).astype(np.uint16)
    low = bits - 8
    first = raw[:, 0] << low | (raw[:, 1] & ((1 << low) - 1))
    second = raw[:, 2] << low | ((raw[:, 1] >> 4) & ((1 << low) - 1))
    return np.stack([first, second], axis=1).reshape(-1)[:count]


def _padded(data: bytes | memoryview, needed: int, size: int) -> NDArray[np.uint8]:
    """At least `needed` bytes, and as many zeros as make `size`."""
    found = _bytes(data, needed)
    return np.pad(found, (0, size - needed)) if size > needed else found


def _to_8_bits(pixels: NDArray[np.uint8] | NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    if bits == 8:
        return np.asarray(pixels, np.uint8)
    full = (1 << bits) - 1
    scaled = (np.minimum(pixels, full).astype(np.uint32) * 255 + full // 2) // full
    return scaled.astype(np.uint8)


def _write_colors(data: NDArray[np.uint8], name: str, out: ImageU8) -> None:
    height, width, _ = out.shape
    if name.startswith("YUV"):
        code = cv2.COLOR_YUV2BGR_UYVY if name == "YUV422_8_UYVY" else cv2.COLOR_YUV2BGR_YUY2
        cv2.cvtColor(data.reshape(height, width, 2), code, dst=out)
        return
    image = data.reshape(height, width, 3)
    out[...] = image[..., ::-1] if name == "RGB8" else image
