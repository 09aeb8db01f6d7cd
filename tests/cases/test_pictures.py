"""Pictures as they come from the field: damaged, of other types, named in odd ways. Every reader gives one answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from painted import save, texture

from edgead.errors import DataError
from edgead.images import decode_jpeg, read_image
from edgead.listing import list_images
from edgead.stream.sources import parse
from edgead.stream.sources.images import find_images

Output = tuple[int, str, str]
Command = Callable[..., Output]


def jpeg(seed: int = 1) -> bytes:
    return cv2.imencode(".jpg", texture(seed, 120, 160))[1].tobytes()


def damaged(raw: bytes) -> bytes:
    """Bytes in the middle that are not the picture's; both ends are whole."""
    middle = len(raw) // 2
    noise = np.random.default_rng(0).integers(1, 255, 200, np.uint8)
    return raw[:middle] + noise.tobytes() + raw[middle + 200 :]


def half(raw: bytes) -> bytes:
    return raw[: len(raw) // 2] + b"\xff\xd9"


def with_exif(raw: bytes) -> bytes:
    return raw[:2] + b"\xff\xe1\x00\x08Exif\0\0" + raw[2:]


@pytest.mark.parametrize("spoil", [damaged, half, lambda raw: half(with_exif(raw))], ids=["middle", "half", "exif"])
def test_a_jpeg_whose_decoder_warns_is_damaged(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(spoil(jpeg()))
    with pytest.raises(DataError, match=r"a\.jpg is damaged \(.+\); copy it again or leave it out"):
        read_image(path)
    with pytest.raises(DataError, match="is damaged"):  # as a camera sends it
        decode_jpeg(spoil(jpeg()))


def test_a_whole_jpeg_reads_as_opencv_reads_it(tmp_path: Path) -> None:
    for name, raw in {"a": jpeg(), "b": with_exif(jpeg()), "padded": jpeg()[:-2] + bytes(2) + b"\xff\xd9"}.items():
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(raw)
        assert np.array_equal(read_image(path), cv2.imread(str(path))), name


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".bmp", ".webp", ".jp2", ".ppm", ".pgm", ".pam"])
def test_a_file_that_is_cut_is_refused_in_every_format(tmp_path: Path, ending: str) -> None:
    image = texture(1, 60, 80)
    raw = cv2.imencode(ending, image[:, :, 0] if ending in (".pgm", ".pam") else image)[1].tobytes()
    path = tmp_path / f"a{ending}"
    for missing in (1, 2, 10, len(raw) // 2):
        path.write_bytes(raw[:-missing])
        with pytest.raises(DataError, match=r"is (cut short|damaged)"):
            read_image(path)


def test_one_changed_bit_is_noticed_where_the_format_has_a_check_sum(tmp_path: Path) -> None:
    """What docs/build.md says of the formats; TIFF's compressions are in test_tiff_strips."""
    noticed = {}
    for ending in (".png", ".bmp", ".ppm", ".jp2"):
        raw = bytearray(cv2.imencode(ending, texture(1, 60, 80))[1].tobytes())
        path = tmp_path / f"a{ending}"
        raw[len(raw) // 2] ^= 16
        path.write_bytes(raw)
        try:
            read_image(path)
            noticed[ending] = False
        except DataError:
            noticed[ending] = True
    assert noticed == {".png": True, ".bmp": False, ".ppm": False, ".jp2": False}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (np.float32, "32-bit floating-point"),
        (np.float64, "64-bit floating-point"),
        (np.int32, "32-bit signed integer"),
    ],
)
def test_a_tiff_of_another_type_says_which(tmp_path: Path, kind: type, words: str) -> None:
    path = tmp_path / "a.tif"
    assert cv2.imwrite(str(path), texture(1)[:, :, 0].astype(kind))
    with pytest.raises(DataError, match=f"has {words} pixels, and 8 or 16 bits are read"):
        read_image(path)


@pytest.mark.parametrize(
    ("head", "words"),
    [(b"\0\0\0\x18ftypheic", "a HEIC picture"), (b"%PDF-1.7 some", "a PDF"), (b"GIF89a......", "a GIF")],
)
def test_what_is_no_picture_here_is_called_by_its_name(tmp_path: Path, head: bytes, words: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(head)
    with pytest.raises(DataError, match=words):
        read_image(path)


def test_a_folder_may_hold_what_a_file_may_be(tmp_path: Path) -> None:
    names = ["a.ppm", "c.jp2", "e.bmp", "f.tiff"]
    for name in names:
        save(tmp_path / name, texture(1, 64, 64))
    (tmp_path / "b.pgm").write_bytes(cv2.imencode(".pgm", texture(1)[:, :, 0])[1].tobytes())
    (tmp_path / "d.jfif").write_bytes(jpeg())
    found = find_images(str(tmp_path))
    assert [path.name for path in found] == sorted([*names, "b.pgm", "d.jfif"])
    assert all(read_image(path).shape[2] == 3 for path in found)


def test_what_a_folder_holds_and_is_not_read_is_said(
    edgead: Command, tiny_bundle: Path, parts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("IMG_1.HEIC", "IMG_2.heic"):
        (parts / name).write_bytes(b"\0\0\0\x18ftypheic")
    (parts / "scan").write_bytes(jpeg())
    (parts / "lost.png").symlink_to(parts / "nowhere.png")
    save(parts / "more" / "x.png", 3)
    code, out, _ = edgead("predict", tiny_bundle, parts)
    said = caplog.text
    assert (code, len(out.splitlines())) == (0, 3)
    assert "2 .heic files are not read: save as png, tif or jpg" in said
    assert "scan: holds a picture and its name ends in none of" in said
    assert "lost.png: is a link that leads nowhere" in said
    assert "1 folder in" in said
    assert "is not read: for the folders in it, write" in said


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    save(tmp_path / "disk" / "a.png", 1)
    data = tmp_path / "data"
    data.mkdir()
    (data / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(data)
    assert [path.name for path in list_images(data, deep=True).images] == ["a.png"]


@pytest.mark.parametrize("ending", ["wmv", "flv", "3gp", "m2ts", "WMV"])
def test_videos_are_known_by_their_endings(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"")
    assert parse(str(path)) == ("video", str(path))
