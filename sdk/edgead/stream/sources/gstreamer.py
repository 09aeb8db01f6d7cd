"""Reads GStreamer pipelines: a `gst-launch-1.0` of its own whose raw frames are read from a pipe.

OpenCV's wheels have no GStreamer, and a pipeline in a process of its own can neither hang nor crash the line. The
child says the size of its frames in the caps it prints (`-v`); they come as BGR, rows padded to 4 bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edgead.errors import SourceError
from edgead.stream.sources.capture import TIMEOUT_S, Capture, PooledCapture
from edgead.stream.sources.live import LiveSource

PROGRAM = "gst-launch-1.0"
INSTALL = "apt install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
_SINK_NAME = "edgead_frames"  # the name of the last element, whose caps are read
_CAPS = re.compile(rf"{_SINK_NAME}\S*\.GstPad:sink: caps = (video/x-raw.*)")
_FIELD = re.compile(r"(width|height|framerate)=\((?:int|fraction)\)(\d+)(?:/(\d+))?")
_SECRET = re.compile(r"([\w-]*(?:pw|pass|password|token|key|user|user-id)\s*=\s*)\S+", re.IGNORECASE)
_PIPE = 1 << 20  # bytes asked of the pipe between the processes; the usual 64 KiB wake both far more often
_END_S = 2.0  # what the child is given to end by itself


@dataclass(frozen=True, slots=True)
class Caps:
    """What a frame is made of."""

    width: int
    height: int
    fps: float

    @property
    def stride(self) -> int:
        """Bytes of a row: padded to a multiple of 4."""
        return (3 * self.width + 3) & ~3


def parse_caps(line: str) -> Caps | None:
    """The caps in a line of `gst-launch-1.0 -v`, or None where it is about something else."""
    match = _CAPS.search(line)
    fields = {name: (int(top), int(bottom or 1)) for name, top, bottom in _FIELD.findall(match[1])} if match else {}
    if "width" not in fields or "height" not in fields:
        return None
    top, bottom = fields.get("framerate", (0, 1))
    return Caps(fields["width"][0], fields["height"][0], top / bottom if bottom else 0.0)


def arguments(program: str, pipeline: str, descriptor: int) -> list[str]:
    """The command line of the child, which writes raw BGR frames to `descriptor`; raises SourceError."""
    try:
        words = shlex.split(pipeline)
    except ValueError as error:
        raise SourceError(f"the GStreamer pipeline cannot be read: {error}; check its quotes") from error
    while words and (words[-1] == "!" or re.fullmatch(r"appsink|sync=\w+|drop=\w+|max-buffers=\d+", words[-1])):
        words.pop()  # the end that OpenCV wants of a pipeline
    if not words:
        raise SourceError("the GStreamer pipeline is empty: write gst:v4l2src device=/dev/video0, say")
    end = f"! videoconvert ! video/x-raw,format=BGR ! fdsink name={_SINK_NAME} fd={descriptor} sync=false"
    return [program, "-v", *words, *end.split()]


class GstCapture(PooledCapture):
    """A `Capture` of the frames of a child process."""

    def __init__(self, pipeline: str, timeout: float = TIMEOUT_S) -> None:
        """Start the child and wait for the size of its frames; raises SourceError saying why there is none."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise SourceError(f"{short_name(pipeline)} needs GStreamer's {PROGRAM}, which is not installed: {INSTALL}")
        self._pipeline = pipeline
        self._timeout = timeout or None
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed in release; a pipe nobody reads would stall
        self._frames, end = os.pipe()
        self._count = 0
        try:
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._frames, fcntl.F_SETPIPE_SZ, _PIPE)
            self._child = subprocess.Popen(  # noqa: S603 - no shell; the pipeline is the user's own
                arguments(program, pipeline, end),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._messages,
                pass_fds=[end],
                start_new_session=True,  # Ctrl-C is ours to answer
            )
        except BaseException:
            os.close(self._frames)
            self._messages.close()
            raise
        finally:
            os.close(end)
        try:
            self._caps = self._first_caps()
        except BaseException:
            self.release()
            raise
        self._rows = np.empty((0, self._caps.stride), np.uint8)  # of the grabbed frame

    def _first_caps(self) -> Caps:
        """What the child says its frames are; raises SourceError with its complaint."""
        assert self._child.stdout is not None
        handle = self._child.stdout.fileno()
        os.set_blocking(handle, False)
        text, limit = b"", time.monotonic() + (self._timeout or TIMEOUT_S)
        while (left := limit - time.monotonic()) > 0:
            if not select.select([handle], [], [], left)[0]:
                break
            read = os.read(handle, 1 << 16)
            if not read:
                break
            text += read
            for line in text.decode(errors="replace").splitlines():
                if (caps := parse_caps(line)) is not None:
                    return caps
        raise SourceError(f"{short_name(self._pipeline)} shows nothing: {self._reason()}")

    def grab(self) -> bool:
        rows = self._empty((self._caps.height, self._caps.stride))
        view, filled = rows.reshape(-1).data, 0
        ends = time.monotonic() + (self._timeout or 0.0)
        while filled < len(view):
            self._hear()
            left = None if self._timeout is None else max(0.0, ends - time.monotonic())
            if not select.select([self._frames], [], [], left)[0]:
                raise SourceError(f"{short_name(self._pipeline)} was lost: it showed no frame for {self._timeout:g} s")
            read = os.readv(self._frames, [view[filled:]])
            if read == 0:
                return self._at_end()
            filled += read
        self._rows = rows
        self._count += 1
        return True

    def _hear(self) -> None:
        """Empty the pipe of the child's words; frames of another size than before cannot be distinguished."""
        assert self._child.stdout is not None
        with contextlib.suppress(BlockingIOError):
            for line in os.read(self._child.stdout.fileno(), 1 << 16).decode(errors="replace").splitlines():
                caps = parse_caps(line)
                if caps is not None and (caps.width, caps.height) != (self._caps.width, self._caps.height):
                    raise SourceError(f"{short_name(self._pipeline)} was lost: its frames changed their size")

    def _at_end(self) -> bool:
        """Whether the child ended well is its exit code; raises SourceError where it did not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._child.wait(_END_S) == 0:
                return False
        raise SourceError(f"{short_name(self._pipeline)} was lost after {self._count} frames: {self._reason()}")

    def retrieve(self) -> tuple[bool, Any]:
        caps = self._caps
        return True, self._rows[:, : 3 * caps.width].reshape(caps.height, caps.width, 3)

    def get(self, propId: int, /) -> float:
        """The rate; and the number of frames, which is known once the child has ended as it should."""
        if propId == cv2.CAP_PROP_FPS:
            return self._caps.fps
        return float(self._count) if self._child.poll() == 0 else 0.0

    def _reason(self) -> str:
        """The child's last error in a line, without anything secret."""
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").splitlines()
        errors = [line.strip() for line in lines if "rror" in line or "WARNING" in line] or [" ".join(lines[-1:])]
        text = re.sub(r"://\S*@", "://***@", _SECRET.sub(r"\1***", errors[0])) or "it gives no reason"
        return f"{text}; try it with {PROGRAM}" if len(text) < 400 else f"{text[:400]}..."

    def interrupt(self) -> None:
        self._child.terminate()  # which closes the pipe that a read waits at

    def release(self) -> None:
        """End the child, by force if need be; calling it again does nothing."""
        if self._messages.closed:
            return
        os.close(self._frames)  # a child that is writing ends by it
        self._child.terminate()
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._messages.close()


def short_name(pipeline: str) -> str:
    """The pipeline by its first element: the rest may hold passwords."""
    first = re.match(r"\s*([A-Za-z0-9_]+)", pipeline)
    return f"gst:{first[1]}" if first else "gst:"


def open_gst(name: str, bits: int, timeout: float, opener: Callable[[str, float], Capture] = GstCapture) -> LiveSource:
    """The pipeline `name`, written as for gst-launch-1.0 and without a sink."""
    return LiveSource(opener(name, timeout), short_name(name), bits, timeout)


def open_csi(name: str, bits: int, timeout: float, opener: Callable[[str, float], Capture] = GstCapture) -> LiveSource:
    """A camera at the board's own connector: csi://0, or csi://0/1280x720@60."""
    return LiveSource(opener(csi_pipeline(name), timeout), name, bits, timeout)


def csi_pipeline(name: str, has: Callable[[str], bool] | None = None) -> str:
    """The pipeline for csi://NUMBER[/WIDTHxHEIGHT[@FPS]] with the element that this board has; raises SourceError."""
    match = re.fullmatch(r"csi://(\d+)(?:/(\d+)x(\d+)(?:@(\d+))?)?", name, re.IGNORECASE)
    if match is None:
        raise SourceError(f"'{name}' is no camera: write csi://0 or csi://0/1280x720@60")
    number, width, height, fps = match[1], match[2] or 1920, match[3] or 1080, match[4] or 30
    size = f"width={width},height={height},framerate={fps}/1"
    has = has or has_element
    if has("nvarguscamerasrc"):
        return f"nvarguscamerasrc sensor-id={number} ! 'video/x-raw(memory:NVMM),{size}' ! nvvidconv ! {_BGRX}"
    if has("libcamerasrc"):
        return f"libcamerasrc ! video/x-raw,{size}"
    raise SourceError(f"{name} needs GStreamer with nvarguscamerasrc (Jetson) or libcamerasrc: {INSTALL}")


_BGRX = "video/x-raw,format=BGRx"


def has_element(element: str) -> bool:
    """Whether this machine's GStreamer knows an element."""
    program = shutil.which("gst-inspect-1.0")
    if program is None:
        return False
    done = subprocess.run([program, "--exists", element], capture_output=True, timeout=20, check=False)  # noqa: S603
    return done.returncode == 0
