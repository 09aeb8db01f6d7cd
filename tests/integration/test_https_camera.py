"""A camera over https is verified, and no fallback reads it without, sends it the password or leaves https."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import pytest
import tiny
from programs import certificate

from edgead.errors import SourceError
from edgead.stream.sources import mjpeg, open_source

JPEG = cv2.imencode(".jpg", tiny.good())[1].tobytes()
PART = b"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(JPEG), JPEG)


class Camera:
    """An https server; what it is asked and with which password is remembered."""

    def __init__(self, files: tuple[Path, Path], kind: str = "multipart/x-mixed-replace; boundary=edge") -> None:
        self.seen: list[tuple[str, str]] = []
        self.elsewhere = ""
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization", "")
                camera.seen.append((self.path, base64.b64decode(given.removeprefix("Basic ")).decode()))
                if camera.elsewhere:
                    self.send_response(302)
                    self.send_header("Location", camera.elsewhere)
                    self.end_headers()
                    return
                if not given:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(5 * PART)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://user:s3cret@localhost:{self._server.server_port}/video"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


Start = Callable[..., Camera]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def start(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a camera. Nothing of its own certificate, or of another reader, is in reach unless a test wants it."""
    cameras: list[Camera] = []
    monkeypatch.setattr(mjpeg, "open_capture", lambda *given: pytest.fail(f"read by another: {given}"))

    def starting(*kind: str) -> Camera:
        cameras.append(Camera(files, *kind))
        return cameras[-1]

    yield starting
    for camera in cameras:
        camera.close()


def first_shape(url: str) -> tuple[int, ...]:
    with open_source(url) as source:
        return next(iter(source)).image.shape


def test_a_certificate_nobody_knows_is_refused_and_no_password_is_sent(start: Start) -> None:
    camera = start()
    with pytest.raises(SourceError, match=r"is not trusted \(self-signed certificate\).*\?verify=no") as error:
        open_source(camera.url)
    assert camera.seen == []
    assert "s3cret" not in str(error.value)


def test_a_certificate_that_is_named_is_trusted(
    start: Start, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    camera = start()
    assert first_shape(camera.url) == (48, 64, 3)
    assert camera.seen[-1] == ("/video", "user:s3cret")


@pytest.mark.parametrize(
    ("query", "asked"),
    [("?verify=no", "/video"), ("?a=1&verify=no&b=%20", "/video?a=1&b=%20"), ("?verify=no&a", "/video?a")],
)
def test_no_verification_must_be_asked_for(query: str, asked: str, start: Start) -> None:
    camera = start()
    assert first_shape(camera.url + query) == (48, 64, 3)
    assert camera.seen[-1] == (asked, "user:s3cret")


def test_a_form_that_only_an_unverifying_reader_knows_is_refused(
    start: Start, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    camera = start("video/mp4")
    with pytest.raises(SourceError, match="no Motion JPEG, the one form that is read over https"):
        open_source(camera.url)
    opened: list[object] = []
    monkeypatch.setattr(mjpeg, "open_capture", lambda *given: opened.append(given))
    mjpeg.open_http(camera.url + "?verify=no", 5.0)
    assert opened == [(camera.url, 5.0)]


def test_a_way_from_https_to_http_is_not_taken(
    start: Start, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    camera = start()
    camera.elsewhere = "http://127.0.0.1:9/video"
    with pytest.raises(SourceError, match="it leads from https to http"):
        open_source(camera.url)


class Server:
    """A TLS server that remembers what it is sent."""

    def __init__(self, files: tuple[Path, Path]) -> None:
        self.seen: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*files)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with suppress(OSError), client, self._context.wrap_socket(client, server_side=True) as secured:
                    self.seen.append(secured.recv(100))

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.mark.parametrize("scheme", ["rtsps", "rtmps"])
def test_ffmpeg_verifies_who_answers_at_an_encrypted_address(
    scheme: str, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    server = Server(files)
    sent = []
    for query, authority in (("", ""), ("?verify=no", ""), ("", str(files[0]))):
        monkeypatch.setenv("SSL_CERT_FILE", authority)
        with pytest.raises(SourceError, match="cannot be opened"):  # it is no camera
            open_source(f"{scheme}://user:s3cret@localhost:{server.port}/x{query}")
        sent.append(any(server.seen))
        server.seen.clear()
    server.close()
    assert sent == [False, True, True]
