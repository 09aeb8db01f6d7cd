"""Writes what Sparkplug B (Eclipse, version 3.0) sends over MQTT: births, data and deaths of a node and its devices.

The station is the edge node, each camera a device. A payload is a Protocol Buffers message of a few fixed fields, so it
is written here: a tag (number of the field, and how its value is stored), then the value. Nothing more of that format
is needed.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

import edgead

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
_WIDTH = 256  # seq and bdSeq go around at it
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # how a value is stored

Message = tuple[str, bytes]  # topic and payload


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of metric: its number, and the field that holds its value."""

    number: int
    field: int
    encode: Callable[[Any], bytes]


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers as 64 bits of two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _tagged(field: int, stored: int, data: bytes) -> bytes:
    return varint(field << 3 | stored) + (varint(len(data)) if stored == _BYTES else b"") + data


def _number(field: int) -> Callable[[Any], bytes]:
    return lambda value: _tagged(field, _VARINT, varint(int(value)))


INT64 = Kind(4, 11, _number(11))
INT32 = Kind(3, 10, lambda value: _tagged(10, _VARINT, varint(int(value) & 0xFFFFFFFF)))
DOUBLE = Kind(10, 13, lambda value: _tagged(13, _FIXED64, struct.pack("<d", value)))
BOOLEAN = Kind(11, 14, _number(14))
STRING = Kind(12, 15, lambda value: _tagged(15, _BYTES, str(value).encode()))


def metric(name: str, kind: Kind, value: Any, when_ms: int, *, historical: bool = False) -> bytes:
    """One metric; a value that is None is said to be null."""
    body = (
        _tagged(1, _BYTES, name.encode())
        + _tagged(3, _VARINT, varint(when_ms))
        + _tagged(4, _VARINT, varint(kind.number))
    )
    body += _tagged(5, _VARINT, b"\1") if historical else b""
    return body + (_tagged(7, _VARINT, b"\1") if value is None else kind.encode(value))


def payload(metrics: Sequence[bytes], when_ms: int, seq: int | None) -> bytes:
    """A message of metrics; a node's death has no number."""
    parts = [_tagged(1, _VARINT, varint(when_ms)), *(_tagged(2, _BYTES, one) for one in metrics)]
    return b"".join(parts) + (b"" if seq is None else _tagged(3, _VARINT, varint(seq)))


RESULT: tuple[tuple[str, Kind, Callable[[dict[str, Any]], Any]], ...] = (  # of a result as `Result.to_json` has it
    ("Sequence", INT64, lambda said: said["sequence"]),
    ("Result/Verdict", STRING, lambda said: said["verdict"]),
    ("Result/Judged", STRING, lambda said: said["judged"]),
    ("Result/Late", BOOLEAN, lambda said: said["late"]),
    ("Result/Score", DOUBLE, lambda said: said["score"]),
    ("Result/Threshold", DOUBLE, lambda said: said["threshold"]),
    ("Result/Reasons", STRING, lambda said: "; ".join(said["reasons"])),
    ("Result/Regions", STRING, lambda said: json.dumps(said["regions"])),
    ("Result/Region count", INT32, lambda said: len(said["regions"])),
    ("Result/Frame", INT64, lambda said: said["index"]),
    ("Result/Name", STRING, lambda said: said["name"]),
    ("Result/Age ms", DOUBLE, lambda said: said["age_ms"]),
    ("Result/Trigger", INT64, lambda said: said.get("trigger")),
    ("Result/Part", STRING, lambda said: said.get("part")),
    ("Result/Recipe", INT32, lambda said: said.get("recipe")),
    ("Result/Model", STRING, lambda said: said["model"]),
)


class SparkplugNode:
    """The messages of one edge node, in order. Each connection is a session: a death announced, a birth, then data."""

    def __init__(self, group: str, node: str) -> None:
        self._group, self._node = group, node
        self._session, self._seq = -1, 0
        self._born: set[str] = set()  # devices, in this session
        self.lock = threading.RLock()  # held from the making of a message until it is handed over, to keep the order

    @property
    def commands(self) -> str:
        """The topic on which the node is told to be born anew."""
        return self._topic("NCMD")

    def begin(self) -> Message:
        """A new session's death, which the broker is to publish when the connection is lost."""
        with self.lock:
            self._session = (self._session + 1) % _WIDTH
            return self.death()

    def death(self) -> Message:
        """That the node is gone."""
        return self._topic("NDEATH"), payload([self._number_of_birth()], _now(), None)

    def birth(self) -> Message:
        """That the node is there, with all that it knows; its devices are born again with their next data."""
        with self.lock:
            self._seq = 0
            self._born.clear()
            now = _now()
            metrics = [
                self._number_of_birth(),
                metric(REBIRTH, BOOLEAN, False, now),
                metric("Properties/Software", STRING, f"edgead {edgead.__version__}", now),
            ]
            return self._topic("NBIRTH"), payload(metrics, now, 0)

    def data(self, device: str, said: dict[str, Any], *, historical: bool) -> list[Message]:
        """A result; before a device's first in a session its birth, with the same values."""
        when = int(1000 * said["time"]) if said["time"] else _now()
        with self.lock:
            messages = []
            if device not in self._born:
                self._born.add(device)
                metrics = [metric(name, kind, read(said), when) for name, kind, read in RESULT]
                messages.append((self._topic("DBIRTH", device), payload(metrics, _now(), self._next())))
            metrics = [metric(name, kind, read(said), when, historical=historical) for name, kind, read in RESULT]
            return [*messages, (self._topic("DDATA", device), payload(metrics, _now(), self._next()))]

    def _number_of_birth(self) -> bytes:
        return metric("bdSeq", INT64, self._session, _now())

    def _next(self) -> int:
        self._seq = (self._seq + 1) % _WIDTH
        return self._seq

    def _topic(self, kind: str, device: str = "") -> str:
        return "/".join(filter(None, (NAMESPACE, self._group, kind, self._node, device)))


class PrimaryHost:
    """The host application that a node waits for, as far as its STATE messages tell. For one thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.topic = f"{NAMESPACE}/STATE/{name}"
        self.online = False
        self._at = 0  # ms since the epoch, of the newest message; an older one is of a session that is over

    def hear(self, raw: bytes) -> bool:
        """Take in a STATE message, and say whether it counts: it is one, and no older than the one before."""
        try:
            said = msgspec.json.decode(raw, type=_State)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
        if said.timestamp < self._at:
            return False
        self.online, self._at = said.online, said.timestamp
        return True


class _State(msgspec.Struct, frozen=True):
    online: bool
    timestamp: int


def asks_for_rebirth(raw: bytes) -> bool:
    """Whether a command's payload sets the metric REBIRTH to true; False also for what cannot be read."""
    try:
        for field, value in _fields(raw):
            if field == 2 and isinstance(value, bytes):
                found = dict(_fields(value))
                if found.get(1) == REBIRTH.encode() and found.get(14):
                    return True
    except (IndexError, ValueError):
        pass
    return False


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message; raises IndexError or ValueError where it is none."""
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        if tag & 7 == _VARINT:
            value, at = _read_varint(raw, at)
            yield tag >> 3, value
            continue
        size, at = {_FIXED64: (8, at), _FIXED32: (4, at)}.get(tag & 7) or _read_varint(raw, at)
        if tag & 7 not in (_FIXED64, _FIXED32, _BYTES) or at + size > len(raw):
            raise ValueError("no Protocol Buffers message")
        yield tag >> 3, raw[at : at + size]
        at += size


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def _now() -> int:
    return int(1000 * time.time())
