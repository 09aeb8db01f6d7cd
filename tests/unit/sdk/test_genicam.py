"""Industrial cameras, against Aravis' own fake GigE camera over loopback; without Aravis the tests are skipped."""

from __future__ import annotations

import fcntl
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from programs import until

from edgead.cli.cameras import industrial
from edgead.errors import MissingPackageError, SourceError, UsageError
from edgead.stream.sources import check_source, open_source
from edgead.stream.sources.genicam import find_cameras, library, parse_genicam

FAKE = shutil.which("arv-fake-gv-camera-0.8")
SYSTEM = Path("/usr/lib/python3/dist-packages/gi")
pytestmark = pytest.mark.filterwarnings("ignore::ImportWarning")  # of the introspection's own modules
ADDRESS = "127.0.0.1"
PORT = 3956  # of GigE Vision, fixed: one fake camera at a time answers there, and a second one is silent
PATIENCE = 60.0  # seconds


@pytest.fixture
def aravis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's introspection, where this Python is of the same version."""
    if FAKE is None:
        pytest.skip("arv-fake-gv-camera-0.8 is missing: apt-get install aravis-tools gir1.2-aravis-0.8 python3-gi")
    try:
        library()
    except MissingPackageError:
        if not SYSTEM.is_dir():
            pytest.skip("python3-gi is missing: apt-get install gir1.2-aravis-0.8 python3-gi")
        (tmp_path / "system").mkdir()
        (tmp_path / "system/gi").symlink_to(SYSTEM)
        monkeypatch.syspath_prepend(str(tmp_path / "system"))
        for name in [name for name in sys.modules if name == "gi" or name.startswith("gi.")]:
            monkeypatch.delitem(sys.modules, name)
        try:
            library()
        except MissingPackageError:
            pytest.skip("the system's python3-gi is for another version of Python")


@contextmanager
def port_alone(patience: float) -> Iterator[None]:
    """The port for one test at a time, of all runs on this machine; skips where others keep it, such as
    `benchmarks/genicam_soak.py`. The camera's program is what they lock, so that nothing is left behind."""
    ends = time.monotonic() + patience
    with Path(str(FAKE)).open("rb") as lock:
        while not (locked(lock) and is_free()):
            if time.monotonic() >= ends:
                pytest.skip(
                    f"port {PORT} of {ADDRESS} is taken, by another run's fake camera or a soak: try again then"
                )
            time.sleep(0.1)
        yield


def locked(file: IO[bytes]) -> bool:
    """Whether this run has the file's lock, asked for as often as one likes."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.bind((ADDRESS, PORT))
        except OSError:
            return False
    return True


@contextmanager
def fake_camera(*options: str, patience: float = PATIENCE) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(FAKE), "-i", ADDRESS, "-s", "EDGEAD1", *options]
    with port_alone(patience):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: any(one.address == ADDRESS for one in find_cameras()))
            yield process
        finally:
            process.kill()
            process.wait()


def test_a_second_camera_waits_and_is_skipped(aravis: None) -> None:
    taken = pytest.raises(pytest.skip.Exception, match=rf"port {PORT} of {ADDRESS} is taken")
    with fake_camera(), taken, fake_camera(patience=0.2):
        pass
    with port_alone(patience=10):  # it is free again
        assert is_free()


def frames(spec: str, count: int) -> list:
    with open_source(spec, timeout=3.0) as source:
        found = []
        for frame in source:
            found.append(frame)
            if len(found) == count:
                return found
    return found


def test_it_is_found_set_and_read(aravis: None, caplog: pytest.LogCaptureFixture) -> None:
    with fake_camera():
        (listed,) = [one for one in industrial() if "EDGEAD1" in one.source]
        assert listed.usable
        assert "BayerRG8" in listed.detail
        got = frames("genicam:EDGEAD1?format=Mono8&width=320&height=240&exposure=5000&gain=2&fps=50", 5)
        assert [frame.image.shape for frame in got] == [(240, 320, 3)] * 5
        assert {frame.clocked_by for frame in got} == {"camera"}
        read_back = dict(got[0].settings)
        assert (read_back["format"], read_back["width"], read_back["height"]) == ("Mono8", "320", "240")
        assert float(read_back["exposure"]) == pytest.approx(5000, rel=0.01)
        ages = [time.monotonic() - frame.clock for frame in got]
        assert all(0 <= age < 5 for age in ages)
        assert np.diff([frame.clock for frame in got]).min() > 0
        again = frames(f"genicam:{ADDRESS}?format=BayerRG8&width=256&height=128", 2)  # another size, by its address
        assert again[0].image.shape == (128, 256, 3)
        with pytest.raises(SourceError, match="cannot be opened"):
            open_source("genicam:EDGEAD1?format=Mono12Packed", timeout=1.0)


def test_a_recipe_sets_it_while_frames_come(aravis: None, caplog: pytest.LogCaptureFixture) -> None:
    with fake_camera(), open_source("genicam:EDGEAD1?width=128&height=128&exposure=5000&fps=50", timeout=3.0) as source:
        frames = iter(source)
        before = dict(next(frames).settings)
        source.configure({"exposure": "800", "gain": "3", "width": "64"})
        after = dict(next(frames).settings)
    assert (float(before["exposure"]), float(after["exposure"])) == (5000, 800)
    assert float(after["gain"]) == 3
    assert after["width"] == "128"
    assert "width cannot be set while frames come" in caplog.text


@pytest.mark.slow  # Aravis asks a camera that is gone for 20 s
def test_one_that_is_unplugged_is_lost_and_comes_back(aravis: None) -> None:
    spec = "genicam:EDGEAD1?width=128&height=128&fps=50"
    with fake_camera() as process, open_source(spec, timeout=1.0) as source:
        taken = iter(source)
        next(taken)
        process.kill()
        with pytest.raises(SourceError, match="was lost"):
            list(taken)
    with pytest.raises(SourceError, match="cannot be opened"):
        open_source(spec, timeout=1.0)
    with fake_camera():
        assert len(frames(spec, 2)) == 2


def test_frames_with_lost_packets_are_counted_and_never_shown(aravis: None) -> None:
    with fake_camera("-r", "20"), open_source("genicam:EDGEAD1?width=512&height=512&fps=100", timeout=5.0) as source:
        whole = 0
        for frame in source:
            whole += 1
            assert frame.image.shape == (512, 512, 3)
            if whole >= 20 or source.unreadable >= 5:
                break
        assert whole + source.unreadable > 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1?exposur=3", "exposure"),
        ("1?exposure=0", "from 1 to"),
        ("1?width=big", "from 16"),
        ("1?trigger=a b", "Line0"),
        ("1?format=RGB9", "not known"),
    ],
)
def test_a_setting_that_cannot_be_is_said(name: str, words: str) -> None:
    with pytest.raises(Exception, match=words):
        parse_genicam(name)


def test_how_it_is_written() -> None:
    assert check_source("genicam:EDG1?trigger=Line0&exposure=800") == ("genicam", "EDG1?trigger=Line0&exposure=800")
    assert parse_genicam("?gain=-3.5") == ("", {"gain": "-3.5"})


def test_without_aravis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(UsageError, match=r"apt-get install gir1\.2-aravis"):
        open_source("genicam:1", timeout=1.0)
    (one,) = industrial()
    assert "no Aravis" in one.detail
