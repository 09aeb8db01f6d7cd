"""Files that people name are read whole, and those that are too large or never end are refused in a sentence."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgead.errors import DataError
from edgead.files import read_whole
from edgead.images import read_image

Output = tuple[int, str, str]
ENDLESS = Path("/dev/zero")


def test_a_file_and_a_pipe_are_read_whole(tmp_path: Path) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(b"ten bytes.")
    assert read_whole(file, 10) == b"ten bytes."
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"ten bytes.",))
    writer.start()
    assert read_whole(pipe, 10) == b"ten bytes."
    writer.join()


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    with pytest.raises(OSError, match="more than 0 MiB"):
        read_whole(tmp_path / "file", 1000)
    (tmp_path / "huge.png").touch()
    os.truncate(tmp_path / "huge.png", 2 << 30)  # a hole: the disk holds nothing of it
    with pytest.raises(DataError, match="cannot be read: it has more than"):
        read_image(tmp_path / "huge.png")


def test_a_device_is_no_picture_and_no_text(edgead: Callable[..., Output], tiny_bundle: Path) -> None:
    with pytest.raises(DataError, match="/dev/zero cannot be read: it is a device, no file"):
        read_image(ENDLESS)
    for command in (
        ("run", "--station", ENDLESS),
        ("explain", ENDLESS),
        ("sign", tiny_bundle, "--key", ENDLESS),
    ):
        code, out, err = edgead(*map(str, command))
        assert (code, out) in ((1, ""), (2, "")), command
        assert "it is a device, no file" in err, command


def test_settings_that_are_no_text_are_refused(tmp_path: Path, edgead: Callable[..., Output]) -> None:
    (tmp_path / "station.yaml").write_bytes(b"bundle: \xff\xfe")
    code, _, err = edgead("run", "--station", str(tmp_path / "station.yaml"))
    assert code == 2
    assert "is not text in UTF-8" in err
