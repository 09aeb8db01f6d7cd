"""Cameras as the field has them: odd Motion JPEG, one picture an answer, other schemes, settings, passwords."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import pytest
from capture import FakeCapture, gray
from painted import texture

from edgead.errors import SourceError, UsageError
from edgead.stream.sinks.images import name_of
from edgead.stream.sources import _check_password, open_source, parse
from edgead.stream.sources.capture import redacted
from edgead.stream.sources.live import open_camera
from edgead.stream.sources.settings import apply_settings, parse_settings
from edgead.types import Frame


def jpeg(seed: int) -> bytes:
    return cv2.imencode(".jpg", texture(seed, 48, 64))[1].tobytes()


@contextmanager
def serving(kind: str, body: Callable[[int], bytes]) -> Iterator[str]:
    """The address of a camera whose answers have this type and body; the number counts its answers."""
    answers: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body(len(answers)))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/video"
        finally:
            server.shutdown()


def parts(mark: bytes, *, length: bool = True, end: bytes = b"\r\n") -> bytes:
    """Three pictures between marks."""
    body = b""
    for seed in range(3):
        raw = jpeg(seed)
        said = b"Content-Length: %d\r\n" % len(raw) if length else b""
        body += mark + b"\r\nContent-Type: image/jpeg\r\n" + said + b"\r\n" + raw + end
    return body + mark + b"--\r\n"


def seen(url: str, most: int = 3) -> int:
    found = 0
    with open_source(url, timeout=5.0) as source:
        try:
            for _ in source:
                found += 1
                if found == most:
                    break
        except SourceError:
            pass
    return found


@pytest.mark.parametrize(
    ("said", "mark", "options"),
    [
        ("; boundary=--frame", b"----frame", {}),
        ("; boundary=--frame", b"--frame", {}),
        ("; boundary=frame", b"--frame", {}),
        ("; boundary=frame", b"frame", {}),
        (";boundary=--video boundary--", b"--video boundary--", {}),
        ("", b"--frame", {}),
        ("; boundary=--frame", b"----frame", {"length": False}),
        ("; boundary=frame", b"--frame", {"length": False, "end": b""}),
    ],
)
def test_a_boundary_is_known_whatever_its_dashes(said: str, mark: bytes, options: dict[str, object]) -> None:
    with serving(f"multipart/x-mixed-replace{said}", lambda _: parts(mark, **options)) as url:  # type: ignore[arg-type]
        assert seen(url) == 3


def test_a_camera_that_answers_with_one_picture_is_asked_again() -> None:
    with serving("image/jpeg", jpeg) as url, open_source(f"{url}?poll=50&user=1") as source:
        frames = iter(source)
        pictures = [next(frames).image for _ in range(4)]
        assert source.fps == 50.0
    assert len({picture.tobytes() for picture in pictures}) == 4
    with serving("image/png", lambda n: cv2.imencode(".png", texture(n))[1].tobytes()) as url:
        assert seen(f"{url}?poll=100") == 3
    with serving("image/jpeg", jpeg) as url, pytest.raises(SourceError, match="number of pictures a second"):
        open_source(f"{url}?poll=often")


@pytest.mark.parametrize("kind", ["rtsps", "rtmp", "rtmps", "udp", "srt", "tcp", "RTSPS"])
def test_streams_that_ffmpeg_reads_are_sources(kind: str) -> None:
    address = f"{kind}://10.0.0.9:9000/live"
    assert parse(address) == (kind.lower(), address)
    assert redacted("udp://@:5000") == "udp://@:5000"


@pytest.mark.parametrize(
    "address",
    [
        "http://admin:pa#ss@127.0.0.1:9/v",
        "http://admin:p/ss@127.0.0.1:9/v",
        "rtsp://admin:sec#ret@127.0.0.1:9/x",
        "rtsp://admin:1?2x@127.0.0.1/x",
        "https://us#er:12@127.0.0.1/x",
        "rtsp://admin:@#@127.0.0.1/x",
    ],
)
def test_a_password_that_ends_the_address_is_explained(address: str) -> None:
    with pytest.raises(UsageError, match=r"write # as %23, / as %2F, . as %3F, @ as %40 there") as told:
        open_source(address)
    assert not any(secret in str(told.value) for secret in ("pa#ss", "p/ss", "sec", "admin", "us#er"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("rtsp:/10.0.0.9/1", r"lacks its two slashes: write it like rtsp://"),
        ("csi:0", r"lacks its two slashes: write it like csi://0"),
        ("video:", "names no file: write it like line.mp4"),
        ("udp://", r"names no port: write it like udp://@:5000"),
        ("tcp://127.0.0.1", r"names no port: write it like tcp://"),
    ],
)
def test_what_is_missing_of_a_source_is_said(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_source(spec)


def test_addresses_that_are_whole_are_left_alone() -> None:
    for address in ("rtsp://host/a?user=a@b.c", "http://a:b%23@h:1/v?x=1#y", "http://h:80/a@b", "rtsp://h/v"):
        _check_password(*address.split("://", 1))


class Camera:
    """Takes what it is given, but no other width than 640."""

    def __init__(self) -> None:
        self.has: dict[int, float] = {}

    def set(self, name: int, value: float) -> bool:
        self.has[name] = 640.0 if name == cv2.CAP_PROP_FRAME_WIDTH else value
        return True

    def get(self, name: int) -> float:
        return self.has.get(name, -1.0)


def test_a_camera_is_set_and_read_back(caplog: pytest.LogCaptureFixture) -> None:
    camera = Camera()
    settings = parse_settings("exposure=120&width=1920&height=1080&fps=30&format=MJPG&focus=auto")
    assert list(settings) == ["format", "width", "height", "fps", "exposure", "focus"]
    found = apply_settings(camera, settings, "camera:0")
    assert (found["format"], found["width"], found["exposure"]) == ("MJPG", "640", "120")
    assert camera.has[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    assert camera.has[cv2.CAP_PROP_AUTO_EXPOSURE] == 1.0
    assert camera.has[cv2.CAP_PROP_EXPOSURE] == 120.0
    assert camera.has[cv2.CAP_PROP_AUTOFOCUS] == 1.0
    assert [record.getMessage() for record in caplog.records] == ["camera:0 has width 640 instead of 1920"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("widht=3", "has no setting 'widht': did you mean 'width'"),
        ("width=big", "width is a number from 16 to 65536, not 'big'"),
        ("format=H264X", "format is four letters"),
        ("width=auto", "not 'auto'"),
        ("fps=nan", "fps is a number"),
    ],
)
def test_wrong_settings_are_explained(query: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_settings(query)


def test_settings_reach_the_camera_before_its_first_frame() -> None:
    camera, opened = Camera(), []

    def opener(target: int | str, timeout: float, prepare: Callable[[Camera], None]) -> FakeCapture:
        prepare(camera)
        opened.append(target)
        return FakeCapture([gray(1)])

    with open_camera("/dev/video2?height=480", 16, 5.0, opener) as source:
        assert next(iter(source)).image.shape[2] == 3
    assert (opened, camera.has) == (["/dev/video2"], {cv2.CAP_PROP_FRAME_HEIGHT: 480.0})
    assert parse("camera:0?width=640") == ("camera", "0?width=640")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("部品 001.jpg", "000007_部品_001"),
        ("부품.jpg", "000007_부품"),
        ("Pru\u0308fteil Öse.jpg", "000007_Prüfteil_Öse"),
        ("../../etc/pass:wd.png", "000007_pass_wd"),
        ("caf\udce9.png", "000007_caf"),
        ("部" * 100 + ".png", "000007_" + "部" * 40),
    ],
)
def test_saved_pictures_keep_the_letters_of_any_script(name: str, kept: str) -> None:
    assert name_of(Frame(texture(1), 7, name)) == kept
