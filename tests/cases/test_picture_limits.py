"""Pictures that are too large, or that only look whole: refused by their headers, before they are decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from painted import texture

from edgead import images
from edgead.errors import DataError, UsageError
from edgead.images import decode_jpeg, read_image
from edgead.picture_size import _FORMATS, picture_size

Output = tuple[int, str, str]
Command = Callable[..., Output]
ENDINGS = (".png", ".jpg", ".bmp", ".tiff", ".webp", ".ppm", ".jp2", ".pgm", ".pam")


def huge_png(side: int = 20_000) -> bytes:
    """A PNG whose header states that size; its chunks are whole."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    data = zlib.compress(bytes(1 + 3 * side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(huge_png())
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match=r"huge.png has 20000 x 20000 pixels, more than the 120000000 that are read"):
        read_image(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_limit_holds_for_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    image = texture(1, 40, 60)
    assert cv2.imwrite(str(path), image[:, :, 0] if ending in (".pgm", ".pam") else image)
    assert picture_size(path.read_bytes()) == (60, 40)
    monkeypatch.setenv("EDGEAD_MAX_PIXELS", "2400")
    assert read_image(path).shape == (40, 60, 3)
    monkeypatch.setenv("EDGEAD_MAX_PIXELS", "2399")
    with pytest.raises(DataError, match="60 x 40 pixels"):
        read_image(path)


def test_a_camera_s_picture_and_a_tiff_of_any_page_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = cv2.imencode(".jpg", texture(1, 40, 60))[1].tobytes()
    pages = cv2.imencodemulti(".tiff", [texture(1, 8, 8), texture(2, 40, 60)])[1].tobytes()
    assert picture_size(pages) == (60, 40)
    monkeypatch.setenv("EDGEAD_MAX_PIXELS", "2399")
    with pytest.raises(DataError, match="60 x 40 pixels"):
        decode_jpeg(raw)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e6", "99999999999999"])
def test_a_limit_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EDGEAD_MAX_PIXELS", text)
    with pytest.raises(UsageError, match="EDGEAD_MAX_PIXELS must be a whole number in 1"):
        images.max_pixels()


def test_the_limit_is_an_option(
    edgead: Command, tiny_bundle: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAD_MAX_PIXELS", "3072")  # restored afterwards, whatever the command sets
    assert edgead("predict", tiny_bundle, parts)[0] == 0
    assert edgead("--max-pixels", "3071", "predict", tiny_bundle, parts)[0] == 1
    assert edgead("--max-pixels", "0", "predict", tiny_bundle, parts)[0] == 2


@given(st.binary(max_size=300), st.sampled_from([mark for mark, _ in _FORMATS]))
def test_no_header_breaks_the_reader(tail: bytes, mark: bytes) -> None:
    for raw in (mark + tail, tail):
        size = picture_size(raw)
        assert size is None or min(size) >= 0


def progressive(seed: int = 1) -> bytes:
    return cv2.imencode(".jpg", texture(seed, 64, 64), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()


def test_a_progressive_jpeg_without_its_last_scans_is_cut(tmp_path: Path) -> None:
    """It would be judged blurred; no decoder complains where it ends between two scans."""
    whole = progressive()
    scans = [at for at in range(len(whole) - 1) if whole[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 4
    for name, raw in {"whole": whole, "first": whole[: scans[1]] + b"\xff\xd9"}.items():
        (tmp_path / f"{name}.jpg").write_bytes(raw)
    for at in scans[1:]:
        tables = whole.rfind(b"\xff\xc4", 0, at)  # Huffman tables may stand before a scan
        for end in (at, tables):
            with pytest.raises(DataError, match="cut short between two scans"):
                decode_jpeg(whole[:end] + b"\xff\xd9")
    assert np.array_equal(read_image(tmp_path / "whole.jpg"), cv2.imread(str(tmp_path / "whole.jpg")))
    with pytest.raises(DataError, match=r"first\.jpg is cut short between two scans"):
        read_image(tmp_path / "first.jpg")
