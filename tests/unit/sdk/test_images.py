"""Reading image files: every format, every depth, and no damaged file taken for a whole one."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from painted import save, texture

from edgead.errors import DataError
from edgead.images import damage, read_image

ENCODINGS = {
    "png": (".png", []),
    "jpeg": (".jpg", []),
    "progressive jpeg": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "jpeg with restarts": (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]),
    "bmp": (".bmp", []),
    "tiff": (".tif", []),
    "plain tiff": (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
    "webp": (".webp", []),
    "lossy webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 60]),
}


def encode(name: str, image: NDArray[np.uint8]) -> tuple[str, bytes]:
    extension, parameters = ENCODINGS[name]
    return extension, cv2.imencode(extension, image, parameters)[1].tobytes()


def jpeg_with_thumbnail(image: NDArray[np.uint8]) -> bytes:
    """A JPEG with another whole JPEG, end marker and all, in an APP1 segment, as cameras write it."""
    thumbnail, whole = encode("jpeg", image[::2, ::2].copy())[1], encode("jpeg", image)[1]
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:]


def tiff_with_directory_first(image: NDArray[np.uint8]) -> bytes:
    """A gray TIFF whose pixels come last: a cut leaves every tag in place."""
    height, width = image.shape
    start = 8 + 2 + 8 * 12 + 4
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, start), (278, height), (279, image.size)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4) + image.tobytes()


def outcome(path: Path, raw: bytes) -> NDArray[np.uint8] | None:
    path.write_bytes(raw)
    try:
        return read_image(path)
    except DataError:
        return None


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("gray", [False, True], ids=["color", "gray"])
def test_a_cut_file_is_refused_or_reads_the_same(tmp_path: Path, name: str, gray: bool) -> None:
    image = texture(1)
    extension, raw = encode(name, image[:, :, 0].copy() if gray else image)
    path = tmp_path / f"cut{extension}"
    whole = outcome(path, raw)
    assert whole is not None
    for length in {*range(0, len(raw), 17), *range(len(raw) - 24, len(raw))}:
        cut = outcome(path, raw[:length])
        assert cut is None or np.array_equal(cut, whole), f"{length} of {len(raw)} bytes"


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_large_file_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    extension, raw = encode(data.draw(st.sampled_from(sorted(ENCODINGS))), texture(2, 160, 220))
    length = data.draw(st.integers(0, len(raw) - 16))
    assert outcome(tmp_path_factory.getbasetemp() / f"large{extension}", raw[:length]) is None


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(tmp_path: Path) -> None:
    raw = jpeg_with_thumbnail(texture(3, 120, 160))
    thumbnail_end = raw.index(b"\xff\xd9") + 2
    assert outcome(tmp_path / "a.jpg", raw) is not None
    for length in range(thumbnail_end, len(raw), 97):
        assert damage(raw[:length]) == "is cut short"


@pytest.mark.parametrize("name", ["jpeg", "png"])
def test_bytes_after_the_end_are_allowed(tmp_path: Path, name: str) -> None:
    extension, raw = encode(name, texture(4))
    assert np.array_equal(outcome(tmp_path / f"a{extension}", raw + bytes(10_000)), outcome(tmp_path / "b", raw))


def test_a_copy_that_stopped_and_was_filled_with_zeros_is_refused(tmp_path: Path) -> None:
    for name in ("jpeg", "png"):
        extension, raw = encode(name, texture(5))
        half = len(raw) // 2
        assert outcome(tmp_path / f"a{extension}", raw[:half] + bytes(len(raw) - half)) is None, name


def test_tiff_pixels_missing_at_the_end_are_noticed(tmp_path: Path) -> None:
    raw = tiff_with_directory_first(texture(6)[:, :, 0].copy())
    assert outcome(tmp_path / "a.tif", raw) is not None
    for length in range(110, len(raw), 61):
        assert outcome(tmp_path / "a.tif", raw[:length]) is None


@given(place=st.integers(min_value=0), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_in_a_png_never_changes_a_pixel(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    raw = bytearray(encode("png", texture(7))[1])
    path = tmp_path_factory.getbasetemp() / "flipped.png"
    whole = outcome(path, bytes(raw))
    raw[place % len(raw)] ^= 1 << bit
    flipped = outcome(path, bytes(raw))
    assert flipped is None or np.array_equal(flipped, whole)


def test_a_wrong_checksum_in_a_png_is_refused(tmp_path: Path) -> None:
    raw = encode("png", texture(8))[1]
    at = raw.index(b"IDAT")
    size = int.from_bytes(raw[at - 4 : at], "big")
    right = raw[at + 4 + size : at + 8 + size]
    assert right == struct.pack(">I", zlib.crc32(raw[at : at + 4 + size]))
    assert outcome(tmp_path / "a.png", raw.replace(right, b"\0\0\0\0")) is None


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"", "is empty"), (b"hello, line", "no image"), (b"\xff\xd8", "cut short"), (b"\x89PNG\r\n\x1a\n", "cut short")],
)
def test_what_is_no_image_is_named(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "part.png"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=words) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no image at"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)


def test_gray_and_alpha_become_three_channels(tmp_path: Path) -> None:
    image = texture(9)
    gray = read_image(save(tmp_path / "gray.png", image[:, :, 0].copy()))
    assert all(np.array_equal(gray[:, :, channel], image[:, :, 0]) for channel in range(3))
    alpha = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])
    assert np.array_equal(read_image(save(tmp_path / "alpha.png", alpha)), image)


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_files_are_scaled_by_their_bits(tmp_path: Path, extension: str, bits: int, channels: int) -> None:
    scale = 2**bits - 1
    deep = np.random.default_rng(bits).integers(0, scale + 1, (9, 11, channels)).astype(np.uint16)
    image = read_image(save(tmp_path / f"deep{extension}", deep), bits=bits)
    expected = deep[:, :, :3].astype(np.float64) * 255 / scale
    assert image.dtype == np.uint8
    assert image.shape == (9, 11, 3)
    assert np.abs(image - expected).max() <= 0.5 + 1e-4


def test_float_files_are_refused_with_their_name(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    path.write_bytes(cv2.imencode(".tif", np.ones((5, 6, 3), np.float32))[1].tobytes())
    with pytest.raises(DataError, match=r"float\.tif cannot be used"):
        read_image(path)


def test_an_exif_tag_turns_the_image_upright(tmp_path: Path) -> None:
    raw = encode("jpeg", texture(10))[1]
    tag = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHHI", 0x0112, 3, 1, 6, 0, 0)
    turned = raw[:2] + b"\xff\xe1" + struct.pack(">H", len(tag) + 2) + tag + raw[2:]
    upright, turned_image = outcome(tmp_path / "a.jpg", raw), outcome(tmp_path / "b.jpg", turned)
    assert upright is not None
    assert turned_image is not None
    assert np.array_equal(turned_image, cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))
