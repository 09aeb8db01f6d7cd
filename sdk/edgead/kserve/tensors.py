"""Writes and reads tensors as the Open Inference Protocol, version 2, has them over HTTP.

A body is a JSON object; with the extension of binary tensor data, the bytes of the tensors follow it (row-major, little
endian; strings with a length of four bytes each), and a header says how long the JSON is.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError

LENGTH_HEADER = "Inference-Header-Content-Length"
BYTES = "BYTES"  # strings: arrays of `bytes` objects
TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_NAMES = {kind: name for name, kind in TYPES.items()}

Array = NDArray[Any]


def encode(header: Mapping[str, Any], key: str, tensors: Mapping[str, Array]) -> tuple[bytes, int]:
    """A body with the tensors under `key` (inputs or outputs) in binary, and the length of its JSON."""
    raw = {name: _to_bytes(array) for name, array in tensors.items()}
    described = [
        {**_described(name, array), "parameters": {"binary_data_size": len(raw[name])}}
        for name, array in tensors.items()
    ]
    text = json.dumps({**header, key: described}).encode()
    return b"".join([text, *raw.values()]), len(text)


def encode_json(header: Mapping[str, Any], key: str, tensors: Mapping[str, Array]) -> bytes:
    """The same as JSON alone."""
    described = [{**_described(name, array), "data": _to_list(array)} for name, array in tensors.items()]
    return json.dumps({**header, key: described}).encode()


def decode(body: bytes | memoryview, json_length: int, key: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """The JSON object and the tensors under `key`; `json_length` is 0 where all of the body is JSON.

    Tensors share the body's memory. Raises DataError for a body that is not what the protocol says.
    """
    view = memoryview(body)
    if not 0 <= json_length <= len(view):
        raise DataError(f"{LENGTH_HEADER} is {json_length} and the body has {len(view)} bytes")
    try:
        header = json.loads(bytes(view[:json_length] if json_length else view))
        described = header[key]
        rest = view[json_length:] if json_length else view[:0]
        tensors = dict(_tensors(described, rest))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"the body is not what the inference protocol says: {type(error).__name__}: {error}") from error
    return header, tensors


def datatype(array: Array) -> str:
    """The protocol's name of an array's type; raises DataError for one that it does not have."""
    if array.dtype == object:
        return BYTES
    try:
        return _NAMES[array.dtype.newbyteorder("<")]
    except KeyError:
        raise DataError(f"the inference protocol has no type for {array.dtype}") from None


def strings(*texts: bytes) -> Array:
    """A tensor of strings, one dimension."""
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def to_strings(raw: bytes | memoryview) -> Array:
    """The inverse of how strings stand in binary data; raises ValueError where it is cut short."""
    found, at, view = [], 0, memoryview(raw)
    while at < len(view):
        if at + 4 > len(view):
            raise ValueError("a string is cut short")
        (size,) = struct.unpack_from("<I", view, at)
        at += 4
        if at + size > len(view):
            raise ValueError("a string is cut short")
        found.append(bytes(view[at : at + size]))
        at += size
    return strings(*found)


def _tensors(described: Sequence[Mapping[str, Any]], rest: memoryview) -> Iterator[tuple[str, Array]]:
    at = 0
    for one in described:
        name, kind, shape = one["name"], one["datatype"], tuple(one["shape"])
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"the shape of {name!r} is {shape}")
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            yield name, _from_list(one["data"], kind, shape)
            continue
        if type(size) is not int or size < 0 or at + size > len(rest):
            raise ValueError(f"{name!r} has {size} bytes and {len(rest) - at} are left")
        yield name, _from_bytes(rest[at : at + size], kind, shape)
        at += size
    if at != len(rest):
        raise ValueError(f"{len(rest) - at} bytes belong to no tensor")


def _from_bytes(raw: memoryview, kind: str, shape: tuple[int, ...]) -> Array:
    if kind == BYTES:
        return to_strings(raw).reshape(shape)
    wanted = TYPES[kind].itemsize * math.prod(shape)
    if wanted != len(raw):
        raise ValueError(f"{kind} {list(shape)} has {wanted} bytes, not {len(raw)}")
    return np.frombuffer(raw, TYPES[kind]).reshape(shape)


def _from_list(data: Any, kind: str, shape: tuple[int, ...]) -> Array:
    if kind == BYTES:
        flat = np.asarray(data, object).reshape(-1)
        return strings(*(str(one).encode() for one in flat)).reshape(shape)
    return np.asarray(data, TYPES[kind]).reshape(shape)


def _to_bytes(array: Array) -> bytes:
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(one)) + one for one in array.reshape(-1))
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _to_list(array: Array) -> list[Any]:
    if array.dtype == object:
        return [one.decode("utf-8", "replace") for one in array.reshape(-1)]
    flat: list[Any] = array.reshape(-1).tolist()
    return flat


def _described(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "datatype": datatype(array), "shape": list(array.shape)}
