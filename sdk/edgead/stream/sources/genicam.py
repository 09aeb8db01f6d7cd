"""Reads industrial cameras, GigE Vision and USB3 Vision, by Aravis (GObject introspection), which is found at run time.

genicam:SERIAL?trigger=Line0&exposure=800&gain=4&format=BayerRG12p&width=1024&height=768&fps=30

The serial number, address or id of a camera as `edgead cameras` prints it; empty for the only one. `exposure` is in
microseconds, `gain` in the camera's unit, `trigger` an input of the camera by which it takes each frame. What the
camera makes of a setting is read back and said where it is something else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2

from edgead.errors import MissingPackageError, SourceError
from edgead.stream.sources.capture import Capture
from edgead.stream.sources.clock import StampClock
from edgead.stream.sources.genicam_settings import NUMBERS, FoundCamera, RawCapture, parse_genicam, say_differences
from edgead.stream.sources.live import LiveSource
from edgead.stream.sources.pixels import CODES
from edgead.stream.sources.settings import SettableCamera

INSTALL = "apt-get install gir1.2-aravis-0.8 python3-gi, and a Python that sees them (venv --system-site-packages)"
_BUFFERS = 8
_WAIT_US = 50_000  # of one look for a frame, after which it is seen whether anybody still wants one

_log = logging.getLogger(__name__)


def library() -> Any:
    """Aravis; raises MissingPackageError where it is not on this machine."""
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis
    except (ImportError, ValueError) as error:
        raise MissingPackageError(f"genicam: needs Aravis 0.8: {INSTALL}") from error
    return Aravis


def find_cameras() -> Iterator[FoundCamera]:
    """The cameras that answer now; raises MissingPackageError."""
    aravis = library()
    aravis.update_device_list()
    for at in range(aravis.get_n_devices()):
        name = aravis.get_device_id(at)
        yield FoundCamera(
            str(aravis.get_device_serial_nbr(at)),
            str(aravis.get_device_model(at)),
            str(aravis.get_device_protocol(at)),
            str(aravis.get_device_address(at)),
            _formats(aravis, name),
        )


def _formats(aravis: Any, name: str) -> tuple[str, ...]:
    try:
        every = aravis.Camera.new(name).dup_available_pixel_formats_as_strings()
    except Exception:  # GLib.Error: another program has it
        return ()
    return tuple(one for one in every if one in CODES.values())


class AravisCapture(RawCapture):
    """A `Capture` of one camera; a frame with lost packets is damaged, and counted as such by its source."""

    def __init__(self, aravis: Any, camera: Any, name: str, timeout: float) -> None:
        """Start to acquire; raises what Aravis raises. A frame may take `timeout` seconds (0: any time)."""
        self._aravis, self._camera, self._name, self._timeout = aravis, camera, name, timeout
        self._interrupted = False
        self._stream: Any = camera.create_stream(None, None)
        if self._stream is None:
            raise SourceError(f"{name} sends no stream: is another program using it?")
        for _ in range(_BUFFERS):
            self._stream.push_buffer(aravis.Buffer.new_allocate(camera.get_payload()))
        camera.start_acquisition()

    def grab(self) -> bool:
        waited = 0
        while not self._interrupted:
            buffer = self._stream.timeout_pop_buffer(_WAIT_US)
            if buffer is not None:
                self._take(buffer)
                return True
            waited += _WAIT_US
            if 0 < 1e6 * self._timeout <= waited:
                return False
        return False

    def _take(self, buffer: Any) -> None:
        whole = buffer.get_status() == self._aravis.BufferStatus.SUCCESS
        size = (buffer.get_image_width(), buffer.get_image_height()) if whole else (0, 0)
        code = buffer.get_image_pixel_format() if whole else 0
        self._stamp = int(buffer.get_timestamp())
        self._frame = (bytes(buffer.get_data()), *size, int(code)) if whole else None
        self._stream.push_buffer(buffer)

    def resent(self) -> tuple[int, int]:
        """Packets that were sent again, and packets that are missing; 0 for a camera without packets."""
        ask = getattr(self._stream, "get_statistics", None)
        found = ask() if ask is not None and hasattr(self._aravis, "GvStream") else None
        return (int(found[0]), int(found[1])) if found is not None and len(found) == 2 else (0, 0)

    def get(self, propId: int, /) -> float:
        if propId != cv2.CAP_PROP_FPS:
            return 0.0
        try:
            return float(self._camera.get_frame_rate())
        except Exception:  # GLib.Error: a camera without that feature
            return 0.0

    def configure(self, settings: Mapping[str, str]) -> None:
        """Set exposure, gain and frame rate while frames come; what else is asked for stays, and is said."""
        live = {name: value for name, value in settings.items() if name in NUMBERS}
        try:
            _apply(self._camera, live, self._name)
        except Exception as error:  # GLib.Error, or a word where a number must be
            raise SourceError(f"{self._name} cannot be set: {getattr(error, 'message', None) or error}") from error
        if rest := ", ".join(settings.keys() - live.keys()):
            _log.warning("%s: %s cannot be set while frames come: write it in the source", self._name, rest)

    def read_back(self) -> Mapping[str, str]:
        """What the camera is set to, as far as it says."""
        return read_settings(self._camera)

    def interrupt(self) -> None:
        self._interrupted = True

    def release(self) -> None:
        self._interrupted = True
        resent, missing = self.resent()
        if resent or missing:
            _log.warning("%s: %d packets were sent again, %d are missing", self._name, resent, missing)
        try:
            self._camera.stop_acquisition()
        except Exception as error:  # GLib.Error: it is gone
            _log.info("%s could not be stopped: %s", self._name, error)
        self._stream = self._camera = None


def open_aravis(asked: str, settings: Mapping[str, str], timeout: float) -> AravisCapture:
    """The camera, set and acquiring; raises MissingPackageError, or SourceError where it cannot be opened or set."""
    aravis, label = library(), f"genicam:{asked}"
    aravis.update_device_list()
    try:
        camera = aravis.Camera.new(_device_id(aravis, asked))
        _apply(camera, settings, label)
        return AravisCapture(aravis, camera, label, timeout)
    except SourceError:
        raise
    except Exception as error:  # GLib.Error
        words = getattr(error, "message", None) or str(error)
        raise SourceError(f"{label} cannot be opened: {words}; `edgead cameras` lists what is there") from error


def open_genicam(
    name: str, bits: int, timeout: float, opener: Callable[[str, Mapping[str, str], float], Capture] = open_aravis
) -> LiveSource:
    """The camera that `name` describes; its frames come as 8 bits, whatever `bits` says.

    Raises UsageError, MissingPackageError, or SourceError where it cannot be opened or set.
    """
    asked, settings = parse_genicam(name)
    capture = opener(asked, settings, timeout)
    clock = StampClock(lambda: capture.stamp if isinstance(capture, AravisCapture) else None, "camera")
    found = capture.read_back() if isinstance(capture, SettableCamera) else {}
    return LiveSource(capture, f"genicam:{asked}", bits, timeout, clock, found)


def _device_id(aravis: Any, asked: str) -> str | None:
    """The id by which Aravis opens a camera: of its serial number, address or id; None for the first there is."""
    if not asked:
        return None
    for at in range(aravis.get_n_devices()):
        names = (aravis.get_device_serial_nbr(at), aravis.get_device_address(at), aravis.get_device_id(at))
        if asked in names:
            return str(aravis.get_device_id(at))
    return asked


def _apply(camera: Any, settings: Mapping[str, str], label: str) -> None:
    """Set the camera, and say what it made something else of."""
    if "format" in settings:
        camera.set_pixel_format_from_string(settings["format"])
    if "width" in settings or "height" in settings:
        _, _, width, height = camera.get_region()
        camera.set_region(0, 0, int(settings.get("width", width)), int(settings.get("height", height)))
    if "packet" in settings:
        camera.gv_set_packet_size(int(settings["packet"]))
    if "exposure" in settings:
        camera.set_exposure_time(float(settings["exposure"]))
    if "gain" in settings:
        camera.set_gain(float(settings["gain"]))
    if "fps" in settings:
        camera.set_frame_rate(float(settings["fps"]))
    if "trigger" in settings:
        camera.set_trigger(settings["trigger"])
    say_differences(label, settings, read_settings(camera))


def read_settings(camera: Any) -> dict[str, str]:
    """What the camera is set to, as far as it says."""
    ways: dict[str, Callable[[], Any]] = {
        "format": camera.get_pixel_format_as_string,
        "width": lambda: camera.get_region()[2],
        "height": lambda: camera.get_region()[3],
        "exposure": camera.get_exposure_time,
        "gain": camera.get_gain,
        "fps": camera.get_frame_rate,
    }
    found = {}
    for key, way in ways.items():
        try:
            found[key] = str(way())
        except Exception:  # noqa: S112 - GLib.Error: a camera without that feature
            continue
    return found
