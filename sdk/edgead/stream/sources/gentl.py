"""Reads industrial cameras through their maker's GenTL producer, a file `.cti`, by harvesters.

gentl:SERIAL?producer=/opt/maker/lib/maker.cti&trigger=Line0&exposure=800

The settings are those of `genicam:`. Without `producer` it is one of the folders in GENICAM_GENTL64_PATH, a variable
that makers' installers set; the camera is the one with that serial number or id, empty for the only one.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from genicam.genapi import GenericException as NodeError
from genicam.gentl import PAYLOADTYPE_INFO_IDS
from genicam.gentl import GenericException as TransportError
from harvesters.core import Callback, Harvester, ImageAcquirer, ParameterKey, ParameterSet

from edgead.errors import DataError, SourceError, UsageError
from edgead.stream.sources.capture import Capture
from edgead.stream.sources.clock import StampClock
from edgead.stream.sources.genicam_settings import NUMBERS, FoundCamera, RawCapture, parse_genicam, say_differences
from edgead.stream.sources.live import LiveSource
from edgead.stream.sources.settings import SettableCamera

FOLDERS = "GENICAM_GENTL64_PATH"
NODES = {  # names of the feature in SFNC, the newest first
    "format": ("PixelFormat",),
    "width": ("Width",),
    "height": ("Height",),
    "packet": ("GevSCPSPacketSize",),
    "exposure": ("ExposureTime", "ExposureTimeAbs"),
    "gain": ("Gain",),
    "fps": ("AcquisitionFrameRate", "AcquisitionFrameRateAbs"),
}
SWITCHES = {  # what leaves a feature to the person who sets it, where a camera has it
    "exposure": ("ExposureAuto", "Off"),
    "gain": ("GainAuto", "Off"),
    "fps": ("AcquisitionFrameRateEnable", True),
}
READ_BACK = ("format", "width", "height", "exposure", "gain", "fps")
_BUFFERS = 8
_WAIT_S = 0.05  # of one look for a frame, after which it is seen whether anybody still wants one

_log = logging.getLogger(__name__)
_quiet = logging.getLogger("edgead.harvesters")  # of its own accord it prints tracebacks of what is said here
_quiet.setLevel(logging.CRITICAL)


class Producer:
    """A loaded file, shared by its cameras: a process can load it once."""

    _loaded: dict[Path, Producer] = {}  # noqa: RUF012 - of the process
    _lock = threading.RLock()

    def __init__(self, path: Path) -> None:
        """Raises SourceError."""
        self.path, self.users = path, 0
        self._harvester = Harvester(config=ParameterSet({ParameterKey.LOGGER: _quiet}))
        try:
            self._harvester.add_file(str(path), check_existence=True, check_validity=True)
        except OSError as error:
            reason = f"it cannot be loaded: {error}" if path.exists() else "there is no such file"
            raise SourceError(f"the GenTL producer {path} cannot be used: {reason}") from error
        self._harvester.update()
        if not self._harvester.has_revised_device_info_list:
            raise SourceError(f"the GenTL producer {path} cannot be used: it does not list its cameras")

    @classmethod
    def borrow(cls, path: Path) -> Producer:
        """The producer, for one more user; raises SourceError. What is plugged in later is found once no camera of it
        is in use: to look anew ends them."""
        with cls._lock:
            found = cls._loaded.get(path.resolve())
            if found is None:
                found = cls._loaded[path.resolve()] = cls(path)
            found.users += 1
            return found

    def give_back(self) -> None:
        """One user less; with the last it is unloaded."""
        with self._lock:
            self.users -= 1
            if not self.users:
                del self._loaded[self.path.resolve()]
                self._harvester.reset()

    def cameras(self) -> Iterator[FoundCamera]:
        """What it lists."""
        for one in self._harvester.device_info_list:
            yield FoundCamera(one.serial_number or one.id_, one.model, one.tl_type, self.path.name, ())

    def open_camera(self, asked: str) -> ImageAcquirer:
        """The camera of that serial number or id, the only one where empty; raises SourceError."""
        known = list(self._harvester.device_info_list)
        found = [one for one in known if asked in (one.serial_number, one.id_)] if asked else known
        if len(found) != 1:
            names = ", ".join(one.serial_number or one.id_ for one in known) or "none"
            raise SourceError(f"{'no' if not found else 'more than one'} such camera; {self.path.name} lists: {names}")
        config = ParameterSet({
            ParameterKey.TIMEOUT_PERIOD_ON_UPDATE_EVENT_DATA_CALL: round(1000 * _WAIT_S),
            ParameterKey.NUM_BUFFERS_FOR_FETCH_CALL: _BUFFERS,
        })  # fmt: skip
        before = signal.getsignal(signal.SIGINT)
        try:
            return self._harvester.create(found[0], config=config)
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, before)  # which it takes for itself


class _Incomplete(Callback):  # type: ignore[misc]
    """Notes that a frame came with gaps."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def emit(self, context: object | None = None) -> None:
        self.seen = True


class GenTlCapture(RawCapture):
    """A `Capture` of one camera; a frame with gaps is damaged, and counted as such by its source."""

    def __init__(self, producer: Producer, acquirer: ImageAcquirer, name: str, timeout: float) -> None:
        """Start to acquire. A frame may take `timeout` seconds (0: any time). Raises what harvesters raises."""
        self._producer, self._acquirer, self._name, self._timeout = producer, acquirer, name, timeout
        self._interrupted = False
        self._incomplete = _Incomplete()
        acquirer.add_callback(ImageAcquirer.Events.INCOMPLETE_BUFFER, self._incomplete)
        acquirer.num_buffers = max(_BUFFERS, acquirer.min_num_buffers)
        acquirer.start()

    def grab(self) -> bool:
        waited = 0.0
        while not self._interrupted:
            self._incomplete.seen = False
            buffer = self._acquirer.try_fetch(timeout=_WAIT_S, is_raw=True)
            if buffer is not None:
                self._take(buffer)
                return True
            if self._incomplete.seen:
                self._frame = self._stamp = None
                return True
            waited += _WAIT_S
            if 0 < self._timeout <= waited:
                return False
        return False

    def _take(self, buffer: Any) -> None:
        try:
            self._stamp = _stamp_of(buffer)
            if buffer.payload_type not in _IMAGES:
                raise SourceError(
                    f"{self._name} sends no plain pictures (payload type {buffer.payload_type}): switch off its "
                    "compression, or what else makes it send several parts"
                )
            data = bytes(memoryview(buffer.raw_buffer)[buffer.image_offset :])  # a copy: the buffer is filled again
            code, width, height = int(buffer.pixel_format), int(buffer.width), int(buffer.height)
            self._frame = (without_padding(data, width, height, code, int(buffer.padding_x)), width, height, code)
        finally:
            buffer.parent.queue_buffer(buffer)

    def get(self, propId: int, /) -> float:
        return float(self.read_back().get("fps", 0.0)) if propId == cv2.CAP_PROP_FPS else 0.0

    def configure(self, settings: Mapping[str, str]) -> None:
        """Set exposure, gain and frame rate while frames come; what else is asked for stays, and is said."""
        live = {name: value for name, value in settings.items() if name in NUMBERS}
        try:
            apply(self._acquirer.remote_device.node_map, live, self._name)
        except (NodeError, TransportError, ValueError) as error:
            raise SourceError(f"{self._name} cannot be set: {_words(error)}") from error
        if rest := ", ".join(settings.keys() - live.keys()):
            _log.warning("%s: %s cannot be set while frames come: write it in the source", self._name, rest)

    def read_back(self) -> Mapping[str, str]:
        """What the camera is set to, as far as it says."""
        return read_settings(self._acquirer.remote_device.node_map)

    def interrupt(self) -> None:
        self._interrupted = True

    def release(self) -> None:
        self._interrupted = True
        try:
            self._acquirer.stop()
            self._acquirer.destroy()
        except (NodeError, TransportError) as error:  # it is gone
            _log.info("%s could not be stopped: %s", self._name, _words(error))
        self._producer.give_back()


_IMAGES = (
    PAYLOADTYPE_INFO_IDS.PAYLOAD_TYPE_IMAGE,
    PAYLOADTYPE_INFO_IDS.PAYLOAD_TYPE_CHUNK_DATA,  # an image, and what a camera says of it
    PAYLOADTYPE_INFO_IDS.PAYLOAD_TYPE_UNKNOWN,
)


def without_padding(data: bytes, width: int, height: int, code: int, padding: int) -> bytes:
    """The rows of a picture without the `padding` bytes behind each; `code` is PFNC's, which holds the bits of a pixel.

    Raises DataError where there are fewer bytes than the picture needs.
    """
    if not padding:
        return data
    row = -(-width * (code >> 16 & 0xFF) // 8)
    if len(data) < height * (row + padding):
        raise DataError(f"the picture has {len(data)} bytes instead of {height * (row + padding)}")
    rows = np.frombuffer(data, np.uint8, height * (row + padding)).reshape(height, row + padding)
    return rows[:, :row].tobytes()


def apply(nodes: Any, settings: Mapping[str, str], label: str) -> None:
    """Set the camera, and say what it made something else of; raises NodeError, or SourceError for what it lacks."""
    for key, names in NODES.items():
        if key in settings:
            if key in SWITCHES and nodes.has_node(SWITCHES[key][0]):
                nodes.get_node(SWITCHES[key][0]).value = SWITCHES[key][1]
            name = next((name for name in names if nodes.has_node(name)), None)
            if name is None:
                raise SourceError(f"{label} has no feature {names[0]}: leave out {key}")
            value = settings[key]
            nodes.get_node(name).value = value if key == "format" else float(value) if key in NUMBERS else int(value)
    if "trigger" in settings:
        if nodes.has_node("TriggerSelector"):
            nodes.get_node("TriggerSelector").value = "FrameStart"
        nodes.get_node("TriggerSource").value = settings["trigger"]
        nodes.get_node("TriggerMode").value = "On"
    say_differences(label, settings, read_settings(nodes))


def read_settings(nodes: Any) -> dict[str, str]:
    """What the camera is set to, as far as it says."""
    found = {}
    for key in READ_BACK:
        for name in NODES[key]:
            try:
                found[key] = str(nodes.get_node(name).value)
                break
            except NodeError:  # a camera without that feature
                continue
    return found


def producers(given: str = "") -> list[Path]:
    """The given file, or those in the folders of GENICAM_GENTL64_PATH; raises UsageError where there is none."""
    if given:
        return [Path(given)]
    folders = [Path(folder) for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
    found = sorted({path for folder in folders for path in folder.glob("*.cti")})
    if not found:
        raise UsageError(
            f"no GenTL producer is known: name its file, as in gentl:?producer=maker.cti, or set {FOLDERS}"
        )
    return found


def find_gentl_cameras() -> Iterator[FoundCamera]:
    """The cameras of all producers in GENICAM_GENTL64_PATH, by producer; raises UsageError, SourceError."""
    for path in producers():
        producer = Producer.borrow(path)
        try:
            yield from producer.cameras()
        finally:
            producer.give_back()


def open_harvester(asked: str, settings: Mapping[str, str], timeout: float) -> GenTlCapture:
    """The camera, set and acquiring; raises UsageError, or SourceError where it cannot be opened or set."""
    label, refused = f"gentl:{asked}", ""
    for path in producers(settings.get("producer", "")):
        with ExitStack() as stack:
            producer = Producer.borrow(path)
            stack.callback(producer.give_back)
            try:
                acquirer = producer.open_camera(asked)
                stack.callback(acquirer.destroy)
                apply(acquirer.remote_device.node_map, settings, label)
                capture = GenTlCapture(producer, acquirer, label, timeout)
            except (SourceError, NodeError, TransportError) as error:
                refused = _words(error)
                continue
            stack.pop_all()
            return capture
    raise SourceError(f"{label} cannot be opened: {refused}")


def open_gentl(
    name: str, bits: int, timeout: float, opener: Callable[[str, Mapping[str, str], float], Capture] = open_harvester
) -> LiveSource:
    """The camera that `name` describes; its frames come as 8 bits, whatever `bits` says.

    Raises UsageError, or SourceError where it cannot be opened or set.
    """
    asked, settings = parse_genicam(name, ("producer",))
    capture = opener(asked, settings, timeout)
    clock = StampClock(lambda: capture.stamp if isinstance(capture, GenTlCapture) else None, "camera")
    found = capture.read_back() if isinstance(capture, SettableCamera) else {}
    return LiveSource(capture, f"gentl:{asked}", bits, timeout, clock, found)


def _stamp_of(buffer: Any) -> int | None:
    """Nanoseconds of the camera's clock; None where it says nothing."""
    try:
        return int(buffer.timestamp_ns)
    except TransportError:
        return None


def _words(error: Exception) -> str:
    """What a library says, without where in its source it says so."""
    return " ".join(str(error).split(" : ")[0].split()) or type(error).__name__
