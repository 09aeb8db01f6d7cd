"""Caches images at the network's size, decoded once into a file that is memory-mapped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError

Rows = NDArray[np.uint8]  # (N, H, W, 3), BGR
Progress = Callable[[int, int], None]  # done, total

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Cache:
    """Where resized images go, a .npy file, and their size."""

    path: Path
    height: int
    width: int


def open_rows(path: Path) -> Rows:
    """The rows in a .npy file, mapped read-only."""
    rows = np.lib.format.open_memmap(path, mode="r")
    if rows.dtype != np.uint8 or rows.ndim != 4:
        raise DataError(f"{path} does not hold images: delete it and build again")
    return rows


@contextmanager
def new_rows(path: Path, count: int, height: int, width: int) -> Iterator[Rows]:
    """Writable rows that become the file at `path` when the block ends well, and nothing when it does not."""
    partial = path.with_name(path.name + ".part")
    try:
        rows = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(count, height, width, 3))
        _reserve(partial)
        yield rows
        rows.flush()
        partial.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _reserve(path: Path) -> None:
    """Claim the file's blocks: a mapped write to a full disk would kill the process without a message."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def in_parallel(
    work: Callable[[Item], Answer], items: Iterable[Item], on_progress: Progress | None = None
) -> Iterator[Answer]:
    """`work` on every item in threads (OpenCV lets go of Python's lock), answers in the items' order.

    The first error, or leaving the loop early, cancels what has not begun.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for done, future in enumerate(futures, 1):
                yield future.result()
                if on_progress:
                    on_progress(done, len(futures))
        finally:
            pool.shutdown(cancel_futures=True)
