"""The register map: one table, from which the server, the client, the simulator and the documentation are made.

There is one space of 16-bit registers, read by function 3 or 4 alike, and one of bits, read by function 1 or 2. The
controller writes the first rows alone (functions 5, 6, 15, 16, 22); a write to any other is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edgead.errors import UsageError
from edgead.stream.plc.handshake import Handshake, Inputs, ResultWord
from edgead.stream.trigger.base import checked_part

PART_WORDS = 16
WORDS = ("big", "little")  # order of the two registers of a 32-bit value
_SIZES = {"uint16": 1, "uint32": 2, "float32": 2, "text": PART_WORDS}


@dataclass(frozen=True, slots=True)
class Register:
    """One row of the map."""

    name: str
    address: int
    kind: str  # bit, uint16, uint32, float32 or text: ASCII, the first of two in the high byte, NUL at the end
    words: str
    written: bool = False  # by the controller

    @property
    def size(self) -> int:
        """Registers; 1 for a bit, in its own space."""
        return _SIZES.get(self.kind, 1)


BITS = (
    Register("trigger", 0, "bit", "a part is there", written=True),
    Register("ack", 1, "bit", "the result was read", written=True),
    Register("reset", 2, "bit", "drop results and notices", written=True),
    Register("ready", 16, "bit", "a trigger may come"),
    Register("busy", 17, "bit", "a part is being judged"),
    Register("done", 18, "bit", "the result stands there"),
    Register("fault", 19, "bit", "see fault_code"),
    Register("heartbeat", 20, "bit", "changes as long as the line judges"),
    Register("reject", 21, "bit", "reject what passes: off only for a part that is OK"),
    Register("ok", 22, "bit", "the result is OK"),
    Register("ng", 23, "bit", "the result is NG"),
    Register("review", 24, "bit", "a person decides"),
    Register("invalid", 25, "bit", "the part could not be judged"),
    Register("late", 26, "bit", "the part was not judged in time"),
)
REGISTERS = (
    Register("command", 0, "uint16", "bit 0 trigger, bit 1 ack, bit 2 reset: as the bits 0 to 2", written=True),
    Register("recipe_wanted", 1, "uint16", "recipe for the parts from now on; 0: as it is", written=True),
    Register("part_wanted", 2, "text", "the part's id, written before or with trigger", written=True),
    Register(
        "status", 100, "uint16", "bit 0 ready, 1 busy, 2 done, 3 fault, 4 heartbeat, 5 reject: as the bits 16 to 21"
    ),
    Register("result", 101, "uint16", "0 none, 1 OK, 2 NG, 3 REVIEW, 4 INVALID, 5 LATE"),
    Register("fault_code", 102, "uint16", "see the table of faults"),
    Register("heartbeat_count", 103, "uint16", "rises by one with each heartbeat, and begins again at 0"),
    Register("score", 104, "float32", "1.0 is the bundle's threshold; -1.0: none"),
    Register("trigger_number", 106, "uint32", "of the part, in this run"),
    Register("x", 108, "uint16", "of the strongest defect, in pixels; 0 where there is none"),
    Register("y", 109, "uint16", "of the strongest defect"),
    Register("width", 110, "uint16", "of the strongest defect"),
    Register("height", 111, "uint16", "of the strongest defect"),
    Register("recipe", 112, "uint16", "recipe that the part was judged with"),
    Register("recipe_active", 113, "uint16", "recipe that the next part is judged with"),
    Register("part", 114, "text", "the part's id, as the trigger gave it"),
    Register("triggers", 130, "uint32", "triggers in this run"),
    Register("count_ok", 132, "uint32", "parts in this run"),
    Register("count_ng", 134, "uint32", "parts in this run"),
    Register("count_review", 136, "uint32", "parts in this run"),
    Register("count_invalid", 138, "uint32", "parts in this run"),
    Register("count_late", 140, "uint32", "parts in this run"),
    Register("refused", 142, "uint32", "raises of trigger while ready was off"),
)
WRITTEN_BITS = sum(row.written for row in BITS)
WRITTEN_WORDS = sum(row.size for row in REGISTERS if row.written)
STATUS = 100  # first register that edgead writes
TOTAL_BITS = max(row.address for row in BITS) + 1
TOTAL_WORDS = max(row.address + row.size for row in REGISTERS)


def status_values(state: Handshake, beats: int) -> dict[str, bool | int | float | str]:
    """What every row that edgead writes holds, by name."""
    answer = state.answer
    bits: dict[str, bool | int | float | str] = {
        "ready": state.ready,
        "busy": state.busy,
        "done": state.done,
        "fault": bool(state.fault),
        "heartbeat": bool(beats & 1),
        "reject": state.reject,
        **{word.name.lower(): state.done and answer.word is word for word in ResultWord if word},
    }
    numbers = {
        "status": sum(bool(bits[name]) << at for at, name in enumerate(STATUS_BITS)),
        "result": int(answer.word) if state.done else 0,
        "fault_code": int(state.fault),
        "heartbeat_count": beats & 0xFFFF,
        "score": answer.score,
        "trigger_number": answer.trigger & 0xFFFFFFFF,
        **{name: min(65535, max(0, getattr(answer, name))) for name in ("x", "y", "width", "height")},
        "recipe": answer.recipe,
        "recipe_active": state.recipe,
        "part": answer.part,
        "triggers": state.triggers & 0xFFFFFFFF,
        **{f"count_{word.name.lower()}": state.counts[word] & 0xFFFFFFFF for word in ResultWord if word},
        "refused": state.refused & 0xFFFFFFFF,
    }
    return {**bits, **numbers}


STATUS_BITS = ("ready", "busy", "done", "fault", "heartbeat", "reject")


def encode(row: Register, value: bool | int | float | str, words: str = "big") -> list[int]:
    """The registers of a value."""
    if row.kind == "text":
        data = str(value).encode("ascii", "replace")[: 2 * PART_WORDS].ljust(2 * PART_WORDS, b"\0")
        return list(struct.unpack(f">{PART_WORDS}H", data))
    if row.kind in ("bit", "uint16"):
        return [int(value) & 0xFFFF]
    packed = struct.pack(">f", float(value)) if row.kind == "float32" else struct.pack(">I", int(value))
    high, low = struct.unpack(">HH", packed)
    return [high, low] if words == "big" else [low, high]


def decode(row: Register, registers: Sequence[int], words: str = "big") -> bool | int | float | str:
    """The value in the registers of a row; text with its NULs and what is no ASCII left as it is."""
    if row.kind == "text":
        return struct.pack(f">{len(registers)}H", *registers).decode("latin-1")
    if row.kind in ("bit", "uint16"):
        return registers[0]
    high, low = registers if words == "big" else (registers[1], registers[0])
    packed = struct.pack(">HH", high, low)
    return float(struct.unpack(">f", packed)[0]) if row.kind == "float32" else int(struct.unpack(">I", packed)[0])


def encode_status(state: Handshake, beats: int, words: str = "big") -> tuple[list[int], list[bool]]:
    """All registers from STATUS on, and all bits from the first that edgead writes on."""
    values = status_values(state, beats)
    registers = [0] * (TOTAL_WORDS - STATUS)
    for row in REGISTERS:
        if not row.written:
            registers[row.address - STATUS : row.address - STATUS + row.size] = encode(row, values[row.name], words)
    first = min(row.address for row in BITS if not row.written)
    bits = [False] * (TOTAL_BITS - first)
    for row in BITS:
        if not row.written:
            bits[row.address - first] = bool(values[row.name])
    return registers, bits


def inputs_of(registers: Sequence[int]) -> Inputs:
    """What the controller says in its first registers."""
    command, recipe = registers[0], registers[1]
    text = str(decode(REGISTERS[2], registers[2 : 2 + PART_WORDS])).split("\0")[0]
    try:
        part, bad = checked_part(text), False
    except UsageError:
        part, bad = "", True
    return Inputs(bool(command & 1), bool(command & 2), bool(command & 4), part, recipe, bad)


def checked_words(words: str) -> str:
    """The order of the two registers of a 32-bit value; raises UsageError for another."""
    if words not in WORDS:
        raise UsageError(f"32-bit values have words=big (the high register first) or words=little, not '{words}'")
    return words
