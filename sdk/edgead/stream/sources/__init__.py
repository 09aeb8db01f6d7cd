"""Opens sources: where frames come from. Each is one file, named in one table, imported when it is asked for.

A source is read frame by frame by one thread, which waits for each. What becomes of live frames that come faster
than they are judged is decided where they are queued (`edgead.stream.queue`), not here.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from edgead.errors import UsageError, nearest
from edgead.frame_pool import FramePool
from edgead.registry import Lazy, Registry
from edgead.types import Frame

VIDEO_EXTENSIONS = frozenset(
    {
        *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)
_LOCAL = (
    "images",
    "video",
    "camera",
    "genicam",
    "gentl",
    "gst",
    "replay",
    "synthetic",
)  # camera:0; the others are URLs
_SET = ("camera:", "genicam:", "gentl:", "replay:")  # with settings behind a question mark, which no glob is there
_LISTENING = ("udp", "tcp", "srt")  # may name a port of this machine alone
_LABEL = re.compile(r"[^\s.]{1,63}")  # of a host's name, in any script
LAST_CAMERA = 9999
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?(.*)", re.DOTALL)


class Source(Protocol):
    """Frames, one after the other, for one thread, which waits for each."""

    live: bool  # frames come when they like; those of files are read when asked for
    fps: float  # frames per second as the source states it; 0 where it does not
    timeout: float  # seconds that one frame may take before the source is lost; 0: any time
    unreadable: int  # frames and files since the start that were reported and passed over

    def __iter__(self) -> Iterator[Frame]:
        """The frames; raises SourceError when they cannot be read, are lost, or none comes for `timeout` seconds."""
        ...

    def close(self) -> None:
        """Release everything held; calling it again does nothing.

        Of a live source any thread may call it: a read that waits elsewhere ends soon, at its deadline at the
        latest, and releases what it used.
        """
        ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Configurable(Protocol):
    """A source whose device can be set while it is open."""

    def configure(self, settings: Mapping[str, str]) -> None:
        """Set the device, by the thread that reads; raises SourceError where it does not take a setting."""
        ...


@runtime_checkable
class Pooled(Protocol):
    """A source that decodes into memory it is given, which is used again."""

    def use_pool(self, pool: FramePool) -> None:
        """Decode into arrays of this pool from the next frame on; by the thread that reads."""
        ...


@dataclass(frozen=True, slots=True)
class SourceEntry(Lazy):
    """A function, or a class, called as function(name, bits, timeout): opens a source or raises SourceError."""

    example: str = ""  # what is written to name one
    live: bool = True  # comes when it likes, and may come back when it was lost


SOURCES = Registry(
    "edgead.sources",
    SourceEntry,
    {
        "images": SourceEntry(
            "edgead.stream.sources.images:open_images", example="parts/, 'parts/*.png' or part.png", live=False
        ),
        "video": SourceEntry("edgead.stream.sources.video:open_video", example="line.mp4", live=False),
        "camera": SourceEntry(
            "edgead.stream.sources.live:open_camera", example="0, /dev/video0, 'camera:0?width=1920&height=1080&fps=30'"
        ),
        "rtsp": SourceEntry("edgead.stream.sources.live:open_stream", example="rtsp://camera.local/stream"),
        **{
            kind: SourceEntry("edgead.stream.sources.live:open_stream", example=example)
            for kind, example in {
                "rtsps": "rtsps://camera.local/stream",
                "rtmp": "rtmp://server.local/live/1",
                "rtmps": "rtmps://server.local/live/1",
                "srt": "srt://camera.local:9000",
                "udp": "udp://@:5000",
                "tcp": "tcp://camera.local:5000",
            }.items()
        },
        "http": SourceEntry("edgead.stream.sources.live:open_web", example="http://camera.local/video"),
        "https": SourceEntry("edgead.stream.sources.live:open_web", example="https://camera.local/video"),
        "genicam": SourceEntry(
            "edgead.stream.sources.genicam:open_genicam", example="'genicam:SERIAL?trigger=Line0&exposure=800'"
        ),
        "gentl": SourceEntry(
            "edgead.stream.sources.gentl:open_gentl",
            extra="gentl",
            example="'gentl:SERIAL?producer=/opt/maker/lib/maker.cti&exposure=800'",
        ),
        "csi": SourceEntry("edgead.stream.sources.gstreamer:open_csi", example="csi://0"),
        "gst": SourceEntry("edgead.stream.sources.gstreamer:open_gst", example="'gst:v4l2src device=/dev/video0'"),
        "replay": SourceEntry("edgead.stream.sources.replay:open_replay", example="replay:line.mp4"),
        "synthetic": SourceEntry("edgead.stream.sources.synthetic:open_synthetic", example="synthetic:640x480@30"),
    },
)


def open_source(spec: str, *, bits: int = 16, timeout: float = 5.0) -> Source:
    """Open the source that `spec` names: see SOURCES for what can be written.

    `bits` is the full scale of 16-bit pixels. A live source that shows nothing for `timeout` seconds is lost (0:
    never). Raises UsageError for a spec that names no kind of source, SourceError when it cannot be opened.
    """
    kind, name = check_source(spec)
    source: Source = SOURCES[kind].load(f"the source '{kind}'")(name, bits, timeout)
    return source


def check_source(spec: str) -> tuple[str, str]:
    """`parse`, and UsageError for an address or a number that no source can have; opens nothing."""
    kind, name = parse(spec)
    if kind == "camera":
        _check_camera(name)
    elif kind in SOURCES.builtin and kind not in (*_LOCAL, "csi") and "://" in name:
        _check_address(kind, name.partition("://")[2])
    return kind, name


def described(spec: str) -> str:
    """A spec in words for messages and results, without anything secret."""
    kind, name = parse(spec)
    if kind == "gst":
        from edgead.stream.sources.gstreamer import short_name

        return short_name(name)
    from edgead.stream.sources.capture import redacted

    return redacted(spec)


def parse(spec: str) -> tuple[str, str]:
    """The kind of source a spec names, as in SOURCES, and the name to open it by."""
    if not spec:
        raise UsageError(f"the source is empty: give one, like {SOURCES['images'].example}")
    if spec.isdecimal() and spec.isascii():
        return "camera", spec
    if spec.startswith("/dev/video"):
        return "camera", spec
    scheme = _SCHEME.fullmatch(spec)
    if scheme is not None and (scheme[2] or scheme[1].lower() == "gst"):  # a pipeline is full of odd characters
        return _by_scheme(spec, scheme[1].lower(), scheme[2] is not None, scheme[3])
    settings = spec.lower().startswith(_SET)
    if scheme is not None and not ((glob.has_magic(spec) and not settings) or Path(spec).exists()):
        return _by_scheme(spec, scheme[1].lower(), scheme[2] is not None, scheme[3])
    path = Path(spec)
    if path.suffix.lower() in VIDEO_EXTENSIONS and (path.is_file() or not (glob.has_magic(spec) or path.is_dir())):
        return "video", spec
    return "images", spec


def _check_password(kind: str, rest: str) -> None:
    """Raise UsageError for an address whose user name or password holds a sign that ends it."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    sign, port = rest[len(authority) : len(authority) + 1], authority.partition(":")[2]
    odd = sign == "#" or (":" in authority and (sign == "?" or not port.isdecimal()))
    whole = "@" in authority.rstrip("@")  # an @ before the host, and not only at the end of what is cut off
    if "@" in rest and not whole and not authority.startswith("[") and odd:
        raise UsageError(
            f"the address {kind}://*** has a sign in its user name or password that ends it: write # as %23, / as %2F, "
            "? as %3F, @ as %40 there"
        )


def _check_camera(name: str) -> None:
    number = name.partition("?")[0]
    if number.isdecimal() and int(number) > LAST_CAMERA:
        raise UsageError(f"there is no camera {number}: they are numbered 0 to {LAST_CAMERA} (`edgead cameras`)")


def _check_address(kind: str, rest: str) -> None:
    """Raise UsageError for an address that nothing can be reached at, without what may be a password."""
    _check_password(kind, rest)
    try:
        parts = urlsplit(f"{kind}://{rest}")
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"the address {kind}://*** cannot be read: its host or its port is none") from error
    if kind in _LISTENING and parts.port is None:
        raise UsageError(f"the address {kind}://*** names no port: write it like {SOURCES[kind].example}")
    if not host and kind not in _LISTENING:
        raise UsageError(f"the address {kind}://*** names no host: write it like {SOURCES[kind].example}")
    labels = host.removesuffix(".").split(".")
    if host and ":" not in host and (len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels)):
        raise UsageError(f"no host can be called '{host}': write the address like {SOURCES[kind].example}")


def _by_scheme(spec: str, kind: str, is_url: bool, rest: str) -> tuple[str, str]:
    if kind == "file" and is_url:
        return parse(unquote(rest))
    if kind in ("images", "video") and not rest:
        raise UsageError(f"the source '{kind}:' names no file: write it like {SOURCES[kind].example}")
    if kind in _LOCAL and (not is_url or kind in ("genicam", "gentl")):
        return kind, rest
    if kind in SOURCES and kind not in _LOCAL and is_url:
        return kind, spec
    if kind in SOURCES and kind not in SOURCES.builtin:  # of another package, which may write it either way
        return kind, rest
    if kind in SOURCES and kind not in _LOCAL:
        raise UsageError(f"the address '{kind}:' lacks its two slashes: write it like {SOURCES[kind].example}")
    raise UsageError(f"'{kind}:' is no kind of source: {nearest(kind, SOURCES)}")
