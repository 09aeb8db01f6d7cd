"""Says in words where in a picture something is."""

from __future__ import annotations

WHOLE = "in the whole picture"
THIRDS = 3


def place_in_words(row: int, column: int, rows: int, columns: int) -> str:
    """A cell in words."""
    if rows == columns == 1:
        return WHOLE
    if rows <= 3 and columns <= 3:
        down = {1: ("",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}[rows][row]
        across = {1: ("",), 2: ("left", "right"), 3: ("left", "center", "right")}[columns][column]
        return f"at the {down} {across}".replace("  ", " ").rstrip()
    return f"in row {row + 1} of {rows}, column {column + 1} of {columns}"


def third_in_words(x: float, y: float) -> str:
    """The ninth of the picture in which a point lies, in shares of its width and height."""
    row, column = (min(THIRDS - 1, max(0, int(THIRDS * value))) for value in (y, x))
    return place_in_words(row, column, THIRDS, THIRDS)
