"""Refuses network files that take their tensors from other files.

An ONNX network may name a file in which a tensor's values stand; engines look for it beside the network or in the
working directory, outside the bundle and its digests. The file is read here as the protocol buffer it is, field by
field (onnx.proto of ONNX 1.18; the field numbers have never changed), so that no library opens it first.
"""

from __future__ import annotations

_TENSOR, _EXTERNAL_DATA, _DATA_LOCATION = "tensor", 13, 14
_FIELDS = {  # of each message, the fields that hold tensors or lead to them: number -> message
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
_VARINT, _EIGHT, _LENGTH, _GROUP, _GROUP_END, _FOUR = 0, 1, 2, 3, 4, 5  # wire types


def needs_other_files(network: bytes) -> bool:
    """Whether a tensor of an ONNX network stands in another file; no for what is no ONNX, which no engine opens."""
    messages = [("model", 0, len(network))]
    try:
        while messages:
            kind, at, stop = messages.pop()
            while at < stop:
                key, at = _varint(network, at, stop)
                number, wire = key >> 3, key & 7
                value, start, at = _field(network, wire, at, stop)
                if kind == _TENSOR and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
                    return True
                if wire == _LENGTH and number in _FIELDS[kind]:
                    messages.append((_FIELDS[kind][number], start, at))
    except ValueError:
        return False
    return False


def _field(raw: bytes, wire: int, at: int, stop: int) -> tuple[int, int, int]:
    """A field's value where it is a number, and where its contents begin and end; raises ValueError."""
    value, start = 0, at
    if wire == _VARINT:
        value, at = _varint(raw, at, stop)
    elif wire == _LENGTH:
        length, start = _varint(raw, at, stop)
        at = start + length
    elif wire in (_EIGHT, _FOUR):
        at += 8 if wire == _EIGHT else 4
    elif wire not in (_GROUP, _GROUP_END):  # the fields of a group are looked at as those of the message around it
        raise ValueError
    if at > stop:
        raise ValueError
    return value, start, at


def _varint(raw: bytes, at: int, stop: int) -> tuple[int, int]:
    """A number and where it ends; raises ValueError."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            break
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError
