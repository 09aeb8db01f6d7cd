"""Numbers and names in sentences."""

from __future__ import annotations


def plural(count: int, noun: str, nouns: str = "") -> str:
    """`1 frame`, `2 frames`; `nouns` where the plural is not made with an s."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def are(count: int) -> str:
    """The verb that goes with so many: `is` or `are`."""
    return "is" if count == 1 else "are"


def printable(text: object) -> str:
    """`text` as it can be shown and stored: what is no character (control characters, bytes that are not UTF-8, as a
    file's name may hold them) is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
