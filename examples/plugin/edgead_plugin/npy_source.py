"""Frames of an array file, as numpy.save writes it: `--source npy:frames.npy`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgead.closing import Closing
from edgead.errors import SourceError
from edgead.ops import as_image
from edgead.types import Frame


class NpySource(Closing):
    """The frames of an array (N, H, W), (N, H, W, 3) or (N, H, W, 4), uint8 or uint16, one after the other."""

    live = False
    fps = 0.0
    timeout = 0.0
    unreadable = 0

    def __init__(self, name: str, bits: int, timeout: float) -> None:
        """Open the file `name`; `bits` is the full scale of 16-bit pixels. Raises SourceError."""
        try:
            self._frames = np.load(name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SourceError(f"{name} cannot be read as an array: {error}; write it with numpy.save") from error
        self._name, self._bits, self._is_open = name, bits, True

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._frames):
            if not self._is_open:
                return
            yield Frame(as_image(np.asarray(image), bits=self._bits), index, self._name)

    def close(self) -> None:
        self._is_open = False
