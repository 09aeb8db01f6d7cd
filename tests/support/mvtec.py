"""A data set of generated pictures, laid out as MVTec AD does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np


def write(folder: Path, kinds: Mapping[str, tuple[int, Callable[[], np.ndarray]]]) -> None:
    """Write so many pictures of each kind, "train/good" or "test/scratch", in the order of the mapping."""
    for kind, (count, draw) in kinds.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            cv2.imwrite(str(folder / kind / f"{index:03d}.png"), draw())
