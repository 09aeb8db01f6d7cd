"""Reads Motion JPEG over HTTP (multipart/x-mixed-replace), as network cameras and most bridges serve it.

Read here and not by FFMPEG: a damaged picture is told from a whole one, nothing is buffered, and the time of
capture is known before the picture is decoded.
"""

from __future__ import annotations

import errno
import http.client
import math
import os
import socket
import ssl
import time
from contextlib import suppress
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPDigestAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from edgead.errors import DataError, SourceError
from edgead.images import decode_jpeg
from edgead.stream.sources.capture import Capture, PooledCapture, open_capture, redacted
from edgead.stream.sources.clock import Stamp, StampClock
from edgead.stream.sources.opening import OpeningDeadline
from edgead.stream.sources.snapshots import SnapshotCapture, poll_rate
from edgead.stream.sources.verified import UNVERIFIED, verification

LARGEST = 64 << 20  # bytes of one picture
_AT_ONCE = 1e-3  # seconds: what a read takes of a picture that lies there
_LINE = 1 << 16  # bytes of one line, of a header or of a picture


def open_http(url: str | int, timeout: float) -> Capture:
    """A stream by its HTTP address: Motion JPEG, and a camera that answers with one picture, are read here, anything
    else through OpenCV; raises SourceError.

    Over https the camera's certificate is verified, and nothing but Motion JPEG is read, since FFmpeg does not verify
    every further server that a stream names;
    `verify=no` in the address asks for neither.
    """
    url, verify = verification(str(url))
    url, rate = poll_rate(url)
    response = _respond(url, timeout, verify)
    if response.headers.get_content_maintype() == "image":
        return SnapshotCapture(response, partial(_respond, url, timeout, verify), rate, timeout)
    boundary = _boundary(response.headers)
    if boundary is not None:
        return MjpegCapture(response, boundary, timeout)
    response.close()
    if urlsplit(url).scheme == "https" and verify:
        raise SourceError(
            f"{redacted(url)} is no Motion JPEG, the one form that is read over https with the camera verified: choose "
            f"it at the camera, or ask for no verification with ?{UNVERIFIED}"
        )
    return open_capture(url, timeout)


def _respond(url: str, timeout: float, verify: bool) -> http.client.HTTPResponse:
    """The camera's answer; raises SourceError."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with OpeningDeadline(timeout, context) as deadline:
            bare, opener = _opener(url, deadline)
            response: http.client.HTTPResponse = opener.open(bare, timeout=timeout or None)
            if deadline.late:  # what it was cut off in may look like a whole head
                response.close()
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    except HTTPError as error:
        error.close()
        advice = "check the user name and the password" if error.code in (401, 403) else "check the address"
        raise SourceError(f"{redacted(url)} answers '{error.code} {error.reason}': {advice}") from None
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise SourceError(
                f"{redacted(url)} is not trusted ({error.reason.verify_message}): name a file with its certificate in "
                f"SSL_CERT_FILE, or ask for no verification with ?{UNVERIFIED}"
            ) from None
        raise SourceError(f"{redacted(url)} cannot be opened: {_words(error)}; check address and network") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceError(f"{redacted(url)} cannot be opened: {_words(error)}; check address and network") from None
    return response


class _SameSecurity(HTTPRedirectHandler):
    """Follows a camera elsewhere, but never from https to http."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise URLError("it leads from https to http")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str, deadline: OpeningDeadline) -> tuple[str, OpenerDirector]:
    """The address without user and password, and what opens it with them; cameras are reached without a proxy."""
    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    passwords = HTTPPasswordMgrWithDefaultRealm()
    if parts.username is not None:
        passwords.add_password(None, bare, unquote(parts.username), unquote(parts.password or ""))
    logins = HTTPBasicAuthHandler(passwords), HTTPDigestAuthHandler(passwords)
    return bare, build_opener(ProxyHandler({}), _SameSecurity(), *logins, *deadline.handlers)


def _words(error: Exception) -> str:
    """The reason alone: an address in an exception may hold a password."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, str):
        return reason
    return (reason.strerror or type(reason).__name__) if isinstance(reason, OSError) else type(reason).__name__


def _boundary(headers: Message) -> bytes | None:
    """What stands between two parts, without dashes: empty where that is not said, None where there are no parts."""
    if headers.get_content_maintype() != "multipart":
        return None
    return (headers.get_boundary() or "").strip("-").encode()


class MjpegCapture(PooledCapture):
    """A `Capture` of the pictures of one HTTP answer."""

    def __init__(self, response: http.client.HTTPResponse, boundary: bytes, timeout: float) -> None:
        """`boundary` is without dashes, which cameras count in or not. The socket has `timeout`, too; it is that of
        each piece, and a picture may come in many."""
        self._response = response
        self._boundary = boundary
        self._timeout = timeout
        self._ends = 0.0  # time.monotonic() at which the part at hand is late
        self._raw = b""
        self._line = b""  # the boundary, where the part before ended at it
        self.stamp: Stamp | None = None  # of the part at hand, by its header
        self.arrived = 0.0  # time.monotonic() at which its header was there
        self.waited = 0.0  # seconds that it was waited for, maybe by the grab before
        self._boundary_waited = self._boundary_arrived = 0.0  # of the next part, where its boundary ended this one

    def grab(self) -> bool:
        self.waited, self._boundary_waited = self._boundary_waited, 0.0
        self._ends = time.monotonic() + self._timeout if self._timeout else math.inf
        try:
            raw = self._part()
        except (OSError, http.client.HTTPException):  # gone, or silent for longer than the time-out
            return False
        self._raw = raw or b""
        return raw is not None

    def _part(self) -> bytes | None:
        """The bytes of the next part, or None at the end."""
        self.arrived = self._boundary_arrived if self.waited else time.monotonic()
        while not self._is_boundary(self._line):
            self._line = self._head_line()
            if not self._line:
                return None
        length, self.stamp = -1, None
        while header := self._head_line().strip():
            name, _, value = header.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit():
                length = int(value)
            self.stamp = read_stamp(name.strip().lower(), value.strip()) or self.stamp
        self._line = b""
        if length < 0:
            return self._until_boundary()
        if length > LARGEST:
            return None
        raw = self._bytes(length)
        return raw if len(raw) == length else None

    def _is_boundary(self, line: bytes) -> bool:
        """Whether a line is the boundary, with the dashes that RFC 2046 has, fewer or more."""
        bare = line.strip()
        if not self._boundary and bare.startswith(b"--") and len(bare) > 2:
            self._boundary = bare.strip(b"-")
        return bool(self._boundary) and bare.strip(b"-") == self._boundary

    def _head_line(self) -> bytes:
        """The next line of a part's head, which is what is waited for where no picture lies there."""
        asked = time.monotonic()
        line = self._next_line()
        now = time.monotonic()
        if now - asked > _AT_ONCE:
            self.waited += now - asked
            self.arrived = now
        return line

    def _next_line(self) -> bytes:
        """The next line; nothing at the end, or where the part is late."""
        return self._response.readline(_LINE) if time.monotonic() < self._ends else b""

    def _bytes(self, length: int) -> bytes:
        """The next `length` bytes; fewer at the end, or where the part is late."""
        raw = bytearray()
        while len(raw) < length and time.monotonic() < self._ends:
            piece = self._response.read1(length - len(raw))
            if not piece:
                break
            raw += piece
        return bytes(raw)

    def _until_boundary(self) -> bytes | None:
        """The bytes up to the next boundary, for servers that do not say a part's length."""
        raw = bytearray()
        while len(raw) <= LARGEST:
            asked = time.monotonic()
            self._line = self._next_line()
            if not self._line:
                return None
            if self._is_boundary(self._line):
                self._note_boundary(asked)
                return bytes(raw.removesuffix(b"\n").removesuffix(b"\r"))
            bare, end = self._line.rstrip().rstrip(b"-"), b"--" + self._boundary
            if bare.endswith(end):  # a server that begins no line for it
                self._line = end
                self._note_boundary(asked)
                return bytes(raw + bare.removesuffix(end).rstrip(b"-"))
            raw += self._line
        return None

    def _note_boundary(self, asked: float) -> None:
        """Remember when the next part began, where it was waited for; the part at hand has come before."""
        now = time.monotonic()
        if now - asked > _AT_ONCE:
            self._boundary_waited, self._boundary_arrived = now - asked, now

    def retrieve(self) -> tuple[bool, Any]:
        try:
            return True, decode_jpeg(self._raw, self._empty)
        except DataError as error:
            raise DataError(f"its JPEG {error}") from error

    def get(self, propId: int, /) -> float:
        return 0.0  # neither its rate nor its end is known

    def interrupt(self) -> None:
        if self._response.closed:
            return
        with suppress(OSError), socket.socket(fileno=os.dup(self._response.fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        self._response.close()


class PartClock(StampClock):
    """By the stamp in each part's header, X-Timestamp or Date; else by the backlog."""

    def __init__(self, capture: MjpegCapture) -> None:
        super().__init__(lambda: capture.stamp, "header")
        self._capture = capture

    def captured(self, asked: float, arrived: float) -> tuple[float, str]:
        """A part is there with its header: its picture may take a while, and its boundary may have come before."""
        return super().captured(self._capture.arrived - self._capture.waited, self._capture.arrived)


def read_stamp(name: bytes, value: bytes) -> Stamp | None:
    """What a line of a part's header, its name in small letters, says of the time of capture; None: nothing."""
    with suppress(ValueError, OverflowError, TypeError):
        if name == b"x-timestamp":  # as mjpg-streamer and its like have it, seconds since the epoch
            seconds = float(value)
            return Stamp(seconds, 0.0 if b"." in value else 1.0) if 0 < seconds < 1e11 else None
        if name == b"date":
            return Stamp(parsedate_to_datetime(value.decode("ascii", "replace")).timestamp(), 1.0)
    return None
