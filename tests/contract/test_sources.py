"""What every source of the table must keep, opened by the words a person would write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from capture import FakeCapture
from lines import threads

from edgead.errors import SourceError, UsageError
from edgead.stream.cameras import grab_frames, open_cameras
from edgead.stream.sources import SOURCES, gstreamer, open_source, parse

FRAMES = 5


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (64, 48))
    for number in range(FRAMES):
        writer.write(tiny.good(number))
    writer.release()
    return path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Over every own source, or the one of --source, which another package may have."""
    if "source_spec" in metafunc.fixturenames:
        given = metafunc.config.getoption("--source")
        metafunc.parametrize("source_spec", [given] if given else sorted(SOURCES.builtin), indirect=True)


@pytest.fixture
def source_spec(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One spec of each kind; what needs a device or a network gets a capture made of a list."""
    if request.param not in SOURCES.builtin:
        images = [tiny.good(number) for number in range(FRAMES)]
        for number, image in enumerate(images):
            cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        np.save(tmp_path / "frames.npy", np.stack(images))
        return request.param.format(folder=tmp_path)
    if request.param == "images":
        for number in range(FRAMES):
            cv2.imwrite(str(tmp_path / f"{number}.png"), tiny.good(number))
        return str(tmp_path)
    if request.param == "video":
        return str(request.getfixturevalue("video"))
    if request.param == "replay":
        return f"replay:{request.getfixturevalue('video')}?fps=200&times=1"
    if request.param == "synthetic":
        return f"synthetic:64x48@200,frames={FRAMES}"
    module, _, name = SOURCES[request.param].target.partition(":")
    function = getattr(import_module(module), name)
    monkeypatch.setattr(gstreamer, "has_element", lambda element: True)
    fake = (lambda *_: FakeCapture([tiny.good(i) for i in range(FRAMES)], count=FRAMES),)
    monkeypatch.setattr(function, "__defaults__", fake)
    specs = {
        "camera": "camera:0",
        "csi": "csi://0",
        "genicam": "genicam:1",
        "gentl": "gentl:1?producer=maker.cti",
        "gst": "gst:rtspsrc location=rtsp://u:secret@h user-pw=secret",
    }
    return specs.get(request.param, f"{request.param}://user:secret@host:9000/path?token=secret")


def test_frames_are_what_the_protocol_says(source_spec: str) -> None:
    with open_source(source_spec) as source:
        frames = list(source)
        assert [frame.index for frame in frames] == list(range(FRAMES))
        assert all(frame.image.dtype == np.uint8 and frame.image.shape == (48, 64, 3) for frame in frames)
        assert all(frame.name and "secret" not in frame.name for frame in frames)
        assert source.unreadable == 0
        assert source.fps >= 0
        assert (source.timeout > 0) == source.live
        assert all((frame.time > 0) == source.live for frame in frames)


def test_closing_twice_and_in_the_middle(source_spec: str) -> None:
    source = open_source(source_spec)
    frames = iter(source)
    next(frames)
    source.close()
    source.close()
    assert len(list(frames)) < FRAMES
    assert threads() == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("0", ("camera", "0")),
        ("camera:3", ("camera", "3")),
        ("CAMERA:3", ("camera", "3")),
        ("camera:/dev/video2", ("camera", "/dev/video2")),
        ("/dev/video0", ("camera", "/dev/video0")),
        ("rtsp://h/a", ("rtsp", "rtsp://h/a")),
        ("HTTPS://h/a.mp4", ("https", "HTTPS://h/a.mp4")),
        ("file:///data/line.mp4", ("video", "/data/line.mp4")),
        ("line.MP4", ("video", "line.MP4")),
        ("video:recording", ("video", "recording")),
        ("images:0", ("images", "0")),
        ("parts", ("images", "parts")),
        ("parts/*.png", ("images", "parts/*.png")),
        ("part.png", ("images", "part.png")),
        ("csi://0", ("csi", "csi://0")),
        ("gst:a ! b,c=[1,2] ! d://e", ("gst", "a ! b,c=[1,2] ! d://e")),
        ("replay:parts/*.png?fps=2", ("replay", "parts/*.png?fps=2")),
        ("synthetic:64x48@30", ("synthetic", "64x48@30")),
    ],
)
def test_what_a_person_writes(spec: str, expected: tuple[str, str]) -> None:
    assert parse(spec) == expected


@pytest.mark.parametrize("spec", ["", "rtps://host/a", "gige:192.168.0.2", "camera://0", "rtsp:host"])
def test_what_names_no_source_is_wrong_usage(spec: str) -> None:
    with pytest.raises(UsageError):
        open_source(spec)


def test_an_unknown_policy_is_wrong_usage(tmp_path: Path) -> None:
    for opener in (open_cameras, lambda specs, policy: grab_frames(specs[0], policy=policy).__enter__()):
        with pytest.raises(UsageError, match="did you mean 'latest'"):
            opener([str(tmp_path)], policy="lates")


def test_a_folder_named_like_a_video_or_a_url_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "camera:x"):
        (tmp_path / name).mkdir()
        cv2.imwrite(f"{name}/0.png", tiny.good())
        with open_source(name) as source:
            assert len(list(source)) == 1


def test_folders_globs_and_files(parts: Path) -> None:
    def names(spec: str) -> list[str]:
        with open_source(spec) as source:
            return [Path(frame.name).stem for frame in source]

    (parts / ".hidden.png").write_bytes(b"")
    (parts / "deeper.png").mkdir()
    cv2.imwrite(str(parts / "deeper.png" / "LAST.JPG"), tiny.good())
    assert names(str(parts)) == ["part_1", "part_2", "part_10"]
    assert names(f"{parts}/part_1*.png") == ["part_1", "part_10"]
    assert names(f"{parts}/**/*.JPG") == ["LAST"]
    assert names(f"{parts}/part_2.png") == ["part_2"]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("none", "there is no image"),
        ("none.mp4", "there is no video"),
        ("empty", "has no images"),
        ("above", "for the folders in it, write"),
        ("*.tiff", "no image matches"),
        ("empty.png", "is empty"),
        ("cut.png", "is cut short"),
        ("text.png", "damaged or no image"),
        ("text.mp4", "cannot be opened"),
        ("notes", "damaged or no image"),
    ],
)
def test_what_cannot_be_read_is_a_source_error(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "above" / "below").mkdir(parents=True)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(cv2.imencode(".png", tiny.good())[1].tobytes()[:100])
    for text in ("text.png", "text.mp4", "notes"):
        (tmp_path / text).write_text("not what its name says, and long enough to be looked at")
    with pytest.raises(SourceError, match=match), open_source(str(tmp_path / name)) as source:
        list(source)


def test_a_video_cut_short_is_reported(video: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_source(str(video)) as source:
        assert source.fps == 12.5
    from edgead.stream.sources.video import VideoSource

    with VideoSource(FakeCapture([tiny.good()], count=100.0), "line.mp4") as source:
        assert len(list(source)) == 1
    assert "ended after 1 of 100 frames" in caplog.text
    with VideoSource(FakeCapture([]), "line.mp4") as source, pytest.raises(SourceError, match="no readable frame"):
        list(source)


@contextmanager
def camera_on_the_network(frames: int) -> Iterator[str]:
    """An HTTP server that sends that many JPEG frames and hangs up; gives its address."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for number in range(frames):
                data = cv2.imencode(".jpg", tiny.good(number))[1].tobytes()
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                self.wfile.write(data + b"\r\n")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.server_port}/stream?token=secret"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_real_stream_is_read_and_its_loss_is_an_error() -> None:
    with camera_on_the_network(40) as url, open_source(url) as source:
        frames = iter(source)
        assert next(frames).image.shape == (48, 64, 3)
        with pytest.raises(SourceError, match="was lost") as caught:
            list(frames)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("spec", ["rtsp://user:secret@127.0.0.1:1/a", "http://127.0.0.1:1/a?token=secret", "camera:99"])
def test_nothing_there(spec: str) -> None:
    with pytest.raises(SourceError, match="cannot be opened") as caught:
        open_source(spec)
    assert "secret" not in str(caught.value)
