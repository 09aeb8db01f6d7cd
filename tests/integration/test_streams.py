"""Real streams on the loopback, from ffmpeg and GStreamer, through the line."""

from __future__ import annotations

import threading

import pytest
from lines import QUICK, Memory, threads
from programs import free_port, need, running, until
from rtsp import RtspCamera

from edgead import Detector
from edgead.errors import SourceError
from edgead.stream.cameras import open_cameras
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.sources import open_source


def test_an_rtsp_stream_that_is_cut_off_comes_back(quick: Detector) -> None:
    need("ffmpeg")
    camera, sink = RtspCamera(), Memory()
    try:
        cameras = open_cameras([f"left=rtsp://user:secret@127.0.0.1:{camera.port}/live"], timeout=2)
        line = Pipeline(cameras, quick, [sink], QUICK)
        thread = threading.Thread(target=line.run, daemon=True)
        thread.start()
        for again in range(1):
            seen = line.status().frames
            until(lambda seen=seen: line.status().frames > seen + 5)
            assert line.status().reconnects >= again
            camera.hang_up()
            until(lambda again=again: line.status().reconnects > again)
        line.stop()
        thread.join(15)
        assert not thread.is_alive()
    finally:
        camera.close()
    assert sink.results[-1].frame_size == (120, 160)
    assert all("secret" not in result.name and result.camera == "left" for result in sink.results)
    assert 0 < line.status().age_ms.p50 < 1000
    assert threads() == []


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_ffmpegs_motion_jpeg_is_killed_and_comes_back(quick: Detector, times: int) -> None:
    program, port = need("ffmpeg"), free_port()
    url, kind = f"http://127.0.0.1:{port}/video", "multipart/x-mixed-replace;boundary=ffmpeg"
    picture = ["-v", "quiet", "-re", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=30", "-f", "mpjpeg"]
    sink = Memory()
    line = Pipeline([Camera("", None, lambda: open_source(url, timeout=2), url)], quick, [sink], QUICK)
    thread = threading.Thread(target=line.run, daemon=True)
    thread.start()
    for again in range(times):
        with running(program, *picture, "-content_type", kind, "-listen", "1", url):
            until(lambda again=again: line.status().frames > 10 * (again + 1))
        until(lambda: line.status().cameras[""].state == "lost")
    line.stop()
    thread.join(15)
    assert not thread.is_alive()
    assert (line.status().reconnects, line.status().unreadable) == (times, 0)
    assert sink.results[-1].frame_size == (120, 160)
    assert threads() == []


def test_gstreamer_frames_are_the_pictures_that_were_sent() -> None:
    need("gst-launch-1.0")
    spec = "gst:videotestsrc num-buffers=40 pattern=red ! video/x-raw,width=321,height=240,framerate=30/1"
    with open_source(spec) as source:  # an odd width: rows are padded
        frames = list(source)
    assert (len(frames), source.fps) == (40, 30.0)
    assert all(frame.image.shape == (240, 321, 3) for frame in frames)
    assert (frames[0].image.reshape(-1, 3).mean(axis=0) == (0, 0, 255)).all()


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("videotestsrc ! nosuchelement", "no element"),
        ("filesrc location=nowhere ! decodebin", "shows nothing"),
        ("rtspsrc location=rtsp://user:secret@127.0.0.1:1/a user-pw=secret ! decodebin", "shows nothing"),
    ],
)
def test_gstreamer_says_why_it_shows_nothing(pipeline: str, words: str) -> None:
    need("gst-launch-1.0")
    with pytest.raises(SourceError, match=words) as caught:
        open_source(f"gst:{pipeline}")
    assert "secret" not in str(caught.value)


def test_a_killed_pipeline_is_started_again(quick: Detector) -> None:
    need("gst-launch-1.0")
    cameras = open_cameras(["gst:videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=60/1"])
    line = Pipeline(cameras, quick, [], QUICK)
    thread = threading.Thread(target=line.run, daemon=True)
    thread.start()
    until(lambda: line.status().frames > 3)
    child = line._grabber.captures[0]._source._capture._child  # type: ignore[union-attr]
    child.kill()
    until(lambda: line.status().reconnects == 1)
    seen = line.status().frames
    until(lambda: line.status().frames > seen + 3)
    latest = line._grabber.captures[0]._source._capture._child  # type: ignore[union-attr]
    line.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert latest.returncode is not None
    assert threads() == []
