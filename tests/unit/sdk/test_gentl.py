"""Industrial cameras by a GenTL producer: one of our own in C++, read by harvesters; without either, skipped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from programs import lacking, need

from edgead.cli.cameras import of_producers
from edgead.errors import SourceError, UsageError
from edgead.stream.sources import Source, check_source, open_source
from edgead.stream.sources.pixels import to_bgr
from edgead.types import Frame

SOURCE = Path(__file__).parents[2] / "support/gentl_producer.cpp"


@pytest.fixture(scope="module")
def producer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built producer, whose only camera is EDGEAD7."""
    try:
        import harvesters.core  # noqa: F401
    except ImportError:
        lacking("harvesters is missing: pip install 'edgead[gentl]'")
    built = tmp_path_factory.mktemp("gentl") / "camera.cti"
    command = [need("g++"), "-std=c++17", "-O1", "-shared", "-fPIC", "-pthread", SOURCE, "-o", built]
    subprocess.run([str(word) for word in command], check=True)
    return built


def first(source: Source, count: int) -> list[Frame]:
    frames = iter(source)
    return [next(frames) for _ in range(count)]


def ramp(width: int, height: int, number: int) -> bytes:
    """The raw bytes of the producer's frame of that number."""
    y, x = np.mgrid[:height, :width]
    return ((x + 2 * y + number) % 256).astype(np.uint8).tobytes()


@pytest.mark.parametrize("pixels", ["Mono8", "BayerRG8"])
def test_every_pixel_of_every_frame_is_the_cameras(producer: Path, pixels: str) -> None:
    spec = f"gentl:EDGEAD7?producer={producer}&format={pixels}&width=96&height=64&fps=200&exposure=800&gain=3"
    with open_source(spec, timeout=3.0) as source:
        frames = first(source, 20)
    for frame in frames:
        number = int(frame.image[0, 0, 0]) if pixels == "Mono8" else None
        numbers = range(256) if number is None else [number]
        assert any(np.array_equal(frame.image, to_bgr(ramp(96, 64, one), 96, 64, pixels)) for one in numbers)
    settings = dict(frames[0].settings)
    assert {name: settings[name] for name in ("format", "width", "height")} == {
        "format": pixels,
        "width": "96",
        "height": "64",
    }
    assert (float(settings["exposure"]), float(settings["gain"]), source.fps) == (800, 3, 200)
    assert {frame.clocked_by for frame in frames} == {"camera"}
    assert np.diff([frame.clock for frame in frames]).min() > 0
    assert 0 <= time.monotonic() - frames[-1].clock < 2


def test_a_recipe_sets_it_while_frames_come(producer: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_source(f"gentl:?producer={producer}&exposure=5000", timeout=3.0) as source:
        before = dict(first(source, 1)[0].settings)
        source.configure({"exposure": "700", "width": "32"})
        after = dict(first(source, 1)[0].settings)
    assert (float(before["exposure"]), float(after["exposure"]), after["width"]) == (5000, 700, "64")
    assert "width cannot be set while frames come" in caplog.text


def test_a_damaged_frame_is_counted_and_never_shown(producer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_TEST_INCOMPLETE", "3")
    with open_source(f"gentl:EDGEAD7?producer={producer}&fps=200", timeout=3.0) as source:
        numbers = [int(frame.image[0, 0, 0]) for frame in first(source, 10)]
        assert source.unreadable >= 4
    assert {number % 3 for number in numbers} == {0, 1}


def test_a_camera_that_waits_for_a_trigger_is_lost_in_time(producer: Path) -> None:
    begin = time.monotonic()
    with (
        open_source(f"gentl:EDGEAD7?producer={producer}&trigger=Line0", timeout=0.5) as source,
        pytest.raises(SourceError, match=r"was lost: it showed no frame for 0\.5 s"),
    ):
        next(iter(source))
    assert time.monotonic() - begin < 3
    with open_source(f"gentl:EDGEAD7?producer={producer}", timeout=3.0) as source:  # and it can be opened again
        assert len(first(source, 2)) == 2


def test_two_sources_share_the_producer(producer: Path) -> None:
    with open_source(f"gentl:EDGEAD7?producer={producer}", timeout=3.0) as one:
        with pytest.raises(SourceError, match=r"no such camera; camera\.cti lists: EDGEAD7"):
            open_source(f"gentl:ANOTHER?producer={producer}", timeout=1.0)
        assert len(first(one, 2)) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("width=17", "cannot be opened: .*17"),
        ("format=Mono12", "cannot be opened"),
        ("packet=1500", "has no feature GevSCPSPacketSize: leave out packet"),
        ("trigger=Line9", "cannot be opened"),
    ],
)
def test_what_the_camera_does_not_take_is_said(producer: Path, settings: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        open_source(f"gentl:EDGEAD7?producer={producer}&{settings}", timeout=1.0)
    with open_source(f"gentl:EDGEAD7?producer={producer}", timeout=3.0) as source:
        assert len(first(source, 1)) == 1


def test_a_producer_that_is_none_is_said(producer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.cti").write_text("no library")
    for name, words in (("absent.cti", "there is no such file"), ("text.cti", "cannot be loaded")):
        with pytest.raises(SourceError, match=words):
            open_source(f"gentl:?producer={tmp_path / name}", timeout=1.0)
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    with pytest.raises(UsageError, match="no GenTL producer is known"):
        open_source("gentl:EDGEAD7", timeout=1.0)
    (one,) = of_producers()
    assert "GENICAM_GENTL64_PATH is not set" in one.detail


def test_it_is_listed(producer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENICAM_GENTL64_PATH", f"/nowhere:{producer.parent}")
    (one,) = of_producers()
    assert (one.source, one.name, one.usable, one.detail) == ("gentl:EDGEAD7", "Ramp (Custom)", True, "by camera.cti")
    with open_source("gentl:", timeout=3.0) as source:
        assert len(first(source, 1)) == 1


def test_ctrl_c_stays_ours(producer: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with open_source(f"gentl:?producer={producer}", timeout=3.0):
        assert signal.getsignal(signal.SIGINT) is before


def test_rows_lose_their_padding(producer: Path) -> None:
    from edgead.errors import DataError
    from edgead.stream.sources.gentl import without_padding

    rows = [bytes(range(at, at + 6)) for at in (0, 50)]
    padded = b"".join(row + b"\xff\xff" for row in rows)
    assert without_padding(padded, 4, 2, 0x010C0047, 2) == b"".join(rows)  # Mono12p: 4 pixels in 6 bytes
    assert without_padding(padded, 4, 2, 0x010C0047, 0) == padded
    with pytest.raises(DataError, match="15 bytes instead of 16"):
        without_padding(padded[:-1], 4, 2, 0x010C0047, 2)


def test_how_it_is_written_and_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_source("gentl:EDG1?producer=/opt/x.cti&exposure=800") == (
        "gentl",
        "EDG1?producer=/opt/x.cti&exposure=800",
    )
    for name in [name for name in sys.modules if name.partition(".")[0] in ("harvesters", "genicam")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "edgead.stream.sources.gentl", raising=False)
    monkeypatch.setitem(sys.modules, "genicam", None)
    monkeypatch.setattr("edgead.registry.is_installed", lambda name: False)
    with pytest.raises(UsageError, match=r"pip install 'edgead\[gentl\]'"):
        open_source("gentl:1?producer=x.cti", timeout=1.0)
