"""A camera that answers each request with one picture: asked again and again, at a rate that can be set."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import cv2

from edgead.errors import DataError, SourceError
from edgead.images import decode_jpeg
from edgead.stream.sources.capture import PooledCapture

OPTION = "poll"  # in the address: pictures a second
RATE = 5.0  # pictures a second where nothing is said
LARGEST = 64 << 20  # bytes of one picture
_RATES = (0.001, 100.0)


def poll_rate(url: str) -> tuple[str, float]:
    """The address as the camera is asked for it, and the pictures a second; raises SourceError."""
    given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)).get(OPTION)
    if given is None:
        return url, RATE
    try:
        rate = float(given)
    except ValueError:
        rate = 0.0
    if not _RATES[0] <= rate <= _RATES[1]:
        raise SourceError(f"{OPTION} in a camera's address is a number of pictures a second, such as 2, not '{given}'")
    address, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair.partition("=")[0] != OPTION]
    return address + ("?" + "&".join(kept) if kept else ""), rate


class SnapshotCapture(PooledCapture):
    """A `Capture` of the pictures that `ask` gets one by one; the first was asked for already."""

    def __init__(
        self, first: http.client.HTTPResponse, ask: Callable[[], http.client.HTTPResponse], rate: float, timeout: float
    ) -> None:
        self._response: http.client.HTTPResponse | None = first
        self._ask = ask
        self._rate = rate
        self._timeout = timeout
        self._due = time.monotonic()
        self._ended = threading.Event()
        self._raw = b""

    def grab(self) -> bool:
        if self._ended.wait(max(0.0, self._due - time.monotonic())):
            return False
        self._due = max(self._due + 1 / self._rate, time.monotonic())
        try:
            response = self._response or self._ask()
            self._response = None
            with response:
                self._raw = self._read(response)
        except (OSError, http.client.HTTPException, SourceError):  # gone, or silent for longer than the time-out
            return False
        return not self._ended.is_set()

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """The whole answer, in the time that one picture may take."""
        ends = time.monotonic() + (self._timeout or float("inf"))
        raw = bytearray()
        while piece := response.read1(1 << 16):
            raw += piece
            if time.monotonic() > ends or len(raw) > LARGEST:
                raise OSError("the picture is too slow or too large")
        return bytes(raw)

    def retrieve(self) -> tuple[bool, Any]:
        try:
            return True, decode_jpeg(self._raw, self._empty)  # or of another format: it is told by its first bytes
        except DataError as error:
            raise DataError(f"its picture {error}") from error

    def get(self, propId: int, /) -> float:
        return self._rate if propId == cv2.CAP_PROP_FPS else 0.0

    def interrupt(self) -> None:
        self._ended.set()

    def release(self) -> None:
        self._ended.set()
        if self._response is not None:
            self._response.close()
            self._response = None
