"""Cameras behind one string: what they say of themselves, what they are told, and what they never give away."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lines import threads

from edgead import Frame
from edgead.errors import SourceError, UsageError
from edgead.stream.cameras import named, open_cameras
from edgead.stream.sinks.images import name_of
from edgead.stream.sources import described, gstreamer, open_source
from edgead.stream.sources.gstreamer import Caps, arguments, csi_pipeline, parse_caps
from edgead.stream.sources.synthetic import FAULTS, Scene, parse_scene

SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12).map(
    lambda text: "Zq" + text + "qZ"  # so that it cannot be part of the host's name by chance
)
MOTION = "multipart/x-mixed-replace; boundary=frame"
JPEG = cv2.imencode(".jpg", tiny.good())[1].tobytes()


@settings(max_examples=50, deadline=None)
@given(SECRET, SECRET, SECRET, st.booleans())
def test_nothing_secret_is_in_a_description(user: str, password: str, token: str, written: bool) -> None:
    """Whether the secret's odd characters are escaped, as they should be, or not."""
    wrap = quote if written else str
    url = f"rtsp://{wrap(user, safe='') if written else user}:{password if not written else quote(password, safe='')}"
    for spec in (f"{url}@host/a", f"{url}@host/a?token={token}", f"http://host/a?token={token}#{token}"):
        words = described(spec)
        kept = name_of(Frame(tiny.good(), 1, words))
        for text in (words, kept):
            assert not any(secret[:-2] in text for secret in (user, password, token)), text
    assert described("rtsp://user:pw@host/a?x=1") == "rtsp://***@host/a"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(password=SECRET)
def test_nothing_secret_is_in_an_error_or_a_log(password: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        spec = f"http://user:{quote(password, safe='')}@127.0.0.1:{taken.getsockname()[1]}/a?token={quote(password)}"
        with pytest.raises(SourceError, match="cannot be opened") as caught:
            open_cameras([spec])
        with pytest.raises(UsageError) as twice:
            named([spec, spec])
    for text in (str(caught.value), str(twice.value), caplog.text):
        assert password not in text
        assert quote(password, safe="") not in text


@contextmanager
def http_camera(
    *parts: bytes, kind: str = "multipart/x-mixed-replace; boundary=frame", hang: bool = False
) -> Iterator[str]:
    """An HTTP server that asks for a password and then answers with `parts`; gives its address."""
    release = threading.Event()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = "Basic " + base64.b64encode(b"user:p@ss").decode()
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            for part in parts:
                self.wfile.write(part)
            if hang:
                self.wfile.flush()
                release.wait(10)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://user:p%40ss@127.0.0.1:{server.server_port}/video"
    finally:
        release.set()
        server.shutdown()
        thread.join()
        server.server_close()


def part(data: bytes, *, length: bool = True) -> bytes:
    size = b"Content-Length: %d\r\n" % len(data) if length else b""
    return b"--frame\r\nContent-Type: image/jpeg\r\n" + size + b"\r\n" + data + b"\r\n"


@pytest.mark.parametrize("length", [True, False])
def test_damaged_jpegs_are_counted_and_whole_ones_come(length: bool, caplog: pytest.LogCaptureFixture) -> None:
    cut, junk = JPEG[: len(JPEG) // 2], b"\xff\xd8 no picture \xff\xd9"
    pictures = [JPEG, cut, JPEG, junk, b"", cut, JPEG]
    data = [part(one, length=length) for one in pictures]
    frames: list[Frame] = []
    with http_camera(*data, b"--frame--\r\n") as url, open_source(url) as source:
        iterator = iter(source)
        frames.extend(next(iterator) for _ in range(3))
        with pytest.raises(SourceError, match="was lost after 7 frames"):
            next(iterator)
    assert [frame.index for frame in frames] == [0, 2, 6]
    assert all(frame.image.shape == (48, 64, 3) for frame in frames)
    assert source.unreadable == 4
    assert sum("damaged frame" in message for message in caplog.messages) == 1


def test_a_stream_that_hangs_is_lost_in_time() -> None:
    with http_camera(part(JPEG), hang=True) as url, open_source(url, timeout=0.2) as source:
        frames = iter(source)
        next(frames)
        with pytest.raises(SourceError, match="was lost"):
            next(frames)


def test_a_wrong_password_is_told_from_a_wrong_address() -> None:
    words = "answers '401 Unauthorized': check the user name and the password"
    with http_camera(part(JPEG)) as url, pytest.raises(SourceError, match=words):
        open_source(url.replace("p%40ss", "wrong"))


def test_a_recording_over_http_goes_through_opencv(tmp_path: Path) -> None:
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(4):
        writer.write(tiny.good(number))
    writer.release()
    with http_camera(path.read_bytes(), kind="video/x-msvideo") as url, open_source(url) as source:
        assert next(iter(source)).image.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("line", "caps"),
    [
        (
            "/GstPipeline:pipeline0/GstFdSink:edgead_frames.GstPad:sink: caps = video/x-raw, width=(int)321, "
            "height=(int)240, framerate=(fraction)30000/1001, format=(string)BGR",
            Caps(321, 240, 30000 / 1001),
        ),
        ("/GstPipeline:pipeline0/GstVideoConvert:c.GstPad:sink: caps = video/x-raw, width=(int)1, height=(int)1", None),
        ("Setting pipeline to PLAYING ...", None),
    ],
)
def test_the_size_of_gstreamers_frames(line: str, caps: Caps | None) -> None:
    assert parse_caps(line) == caps
    assert Caps(321, 1, 0).stride == 964


def test_a_pipeline_becomes_arguments_without_a_shell() -> None:
    words = arguments("gst", "v4l2src ! 'video/x-raw(memory:NVMM),width=1' ! appsink drop=true", 7)
    assert words[:5] == ["gst", "-v", "v4l2src", "!", "video/x-raw(memory:NVMM),width=1"]
    assert words[5:8] == ["!", "videoconvert", "!"]
    assert "fd=7" in words
    for wrong, match in (("  ", "is empty"), ("a 'b", "check its quotes")):
        with pytest.raises(SourceError, match=match):
            arguments("gst", wrong, 7)


def test_without_gstreamer_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    for spec in ("gst:videotestsrc", "csi://0"):
        with pytest.raises(SourceError, match=r"apt install gstreamer1\.0-tools"):
            open_source(spec)


def test_the_pipeline_of_a_camera_on_the_board() -> None:
    jetson = csi_pipeline("csi://1/1280x720@60", lambda element: element == "nvarguscamerasrc")
    assert jetson.startswith("nvarguscamerasrc sensor-id=1 ! 'video/x-raw(memory:NVMM),width=1280,height=720,fr")
    assert csi_pipeline("csi://0", lambda element: element == "libcamerasrc").startswith("libcamerasrc ! ")
    with pytest.raises(SourceError, match="write csi://0"):
        csi_pipeline("csi://front")


def test_synthetic_frames_are_the_same_every_time_and_differ_from_each_other() -> None:
    scene = parse_scene("160x120,defects=5,faults=10,seed=3")
    assert scene == Scene(160, 120, 0.0, 5, 10, 0, 3)
    frames = [scene.picture(index) for index in range(9)]
    assert all(np.array_equal(scene.picture(index), frame) for index, frame in enumerate(frames))
    assert len({frame.tobytes() for frame in frames}) == 9
    assert [index for index in range(20) if scene.defect(index)] == [4, 9, 14, 19]
    assert [scene.fault(index) for index in (0, 9, 10, 12, 13, 20, 30, 40, 50)] == [
        "", "", FAULTS[0], FAULTS[0], "", *FAULTS[1:],
    ]  # fmt: skip
    assert frames[4].max() > frames[3].max() + 50


@pytest.mark.parametrize("name", ["640", "640x480@", "640x480,defect=2", "8x8", "frames=x"])
def test_a_synthetic_source_that_cannot_be_read(name: str) -> None:
    with pytest.raises(SourceError, match="synthetic"):
        open_source(f"synthetic:{name}")


def test_cameras_are_named(tmp_path: Path) -> None:
    assert named(["0"]) == [("", "0")]
    assert named(["left=0", "right=rtsp://u:p@h/a=b"]) == [("left", "0"), ("right", "rtsp://u:p@h/a=b")]
    assert named(["0", "rtsp://u:p@h/a"]) == [("0", "0"), ("rtsp://***@h/a", "rtsp://u:p@h/a")]
    assert named([str(tmp_path)]) == [("", str(tmp_path))]


def test_one_camera_that_is_not_there_does_not_keep_the_others_away(caplog: pytest.LogCaptureFixture) -> None:
    cameras = open_cameras(["a=synthetic:64x48@50", "b=camera:99"])
    assert [camera.source is None for camera in cameras] == [False, True]
    assert "camera:99 cannot be opened" in caplog.text
    assert cameras[0].source is not None
    cameras[0].source.close()
    with pytest.raises(SourceError, match="camera:99"):
        open_cameras(["camera:99"])
    with pytest.raises(SourceError, match="there is no image"):  # no file comes by itself
        open_cameras(["a=synthetic:64x48@50", "b=nowhere"])
    assert threads() == []


def test_gstreamer_names_keep_their_secrets() -> None:
    pipeline = "rtspsrc location=rtsp://user:secret@host/a user-pw=secret ! decodebin"
    assert described(f"gst:{pipeline}") == gstreamer.short_name(pipeline) == "gst:rtspsrc"
