"""Checks whether a JPEG is whole as far as its markers say: it ends, and a progressive one has every scan.

A decoder does not complain about a progressive picture that stops between two scans: it is whole, and blurred.
"""

from __future__ import annotations

import re

# A marker other than a restart; "ff 00" within the pictures' data is a stuffed byte, not a marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END, _PROGRESSIVE, _SCAN = 0xD9, (0xC2, 0xCA), 0xDA
_COEFFICIENTS = 64

_Precision = dict[int, list[int]]  # of each component, the bits that each coefficient still lacks; -1: all of them


def jpeg_damage(raw: bytes) -> str:
    """What is missing of a JPEG's bytes, or ""; the end marker of a thumbnail inside a segment does not count."""
    at = 2
    lacks: _Precision = {}
    while marker := _MARKER.search(raw, at):
        kind, start = marker[0][1], marker.end()
        if kind == _END:
            return "" if all(bits == 0 for one in lacks.values() for bits in one) else "is cut short between two scans"
        size = int.from_bytes(raw[start : start + 2], "big")
        segment = raw[start + 2 : start + size]
        if kind in _PROGRESSIVE:
            lacks = {number: [-1] * _COEFFICIENTS for number in segment[6::3]}
        elif kind == _SCAN:
            _note(segment, lacks)
        at = start + size
    return "is cut short"


def _note(scan: bytes, lacks: _Precision) -> None:
    """Take what a scan brings: of its components, the coefficients from..to, all but so many of the lowest bits."""
    if len(scan) < 4 or len(scan) < 4 + 2 * scan[0]:
        return
    first, last, bits = scan[-3], scan[-2], scan[-1] & 15
    for number in scan[1 : 1 + 2 * scan[0] : 2]:
        if number in lacks and last < _COEFFICIENTS:
            lacks[number][first : last + 1] = [bits] * (last + 1 - first)
