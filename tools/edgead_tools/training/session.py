"""Sets up the process while it trains: deterministic torch, reused memory, deferred Ctrl-C, whole files."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

import torch

from edgead.errors import EngineError

# glibc's mallopt: (parameter, while training, glibc's default)
MALLOC = ((-4, 0, 65536), (-1, 2**31 - 1, 128 << 10), (-2, 256 << 20, 128 << 10))  # MMAP_MAX, TRIM_THRESHOLD, TOP_PAD


_open: ContextVar[bool] = ContextVar("_open", default=False)


def check_device(device: str) -> None:
    """Raise EngineError where this machine cannot train on `device`."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device != "cpu" and int(device.partition(":")[2] or 0) >= count:
        raise EngineError(
            f"this torch ({torch.__version__}) sees {count} CUDA devices and '{device}' is not one of them: "
            "train on cpu, or see what `edgead doctor` says"
        )


@contextmanager
def session(device: str, threads: int) -> Iterator[None]:
    """Deterministic algorithms, `threads` CPU threads (0: as they are) and the caller's random state untouched.

    A session inside a session is the outer one.
    """
    if _open.get():
        yield
        return
    token = _open.set(True)
    try:
        with _session(device, threads):
            yield
    finally:
        _open.reset(token)


@contextmanager
def _session(device: str, threads: int) -> Iterator[None]:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    cuda = torch.device(device).type == "cuda"
    if cuda:  # cuBLAS is only deterministic with a fixed workspace, and reads this at its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads or before[0])
    torch.use_deterministic_algorithms(True)
    debug: Any = torch.utils.deterministic  # its switch fills every new tensor, to show reads of unset memory
    filled, debug.fill_uninitialized_memory = debug.fill_uninitialized_memory, False
    try:
        with torch.random.fork_rng([torch.device(device)] if cuda else []), _reused_memory(enabled=not cuda):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        debug.fill_uninitialized_memory = filled


@contextmanager
def _reused_memory(*, enabled: bool) -> Iterator[None]:
    """Let glibc keep freed blocks. Otherwise each large activation is mapped and zeroed by the kernel at every step:
    a Lite0 step of 8 images takes 1.11 s instead of 0.78 s (channels_last: 0.62 and 0.56 s) on two cores."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if enabled else None
    if mallopt is None:  # another C library, or a GPU
        yield
        return
    for parameter, value, _ in MALLOC:
        mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, _, default in MALLOC:
            mallopt(parameter, default)


class Interrupts(AbstractContextManager["Interrupts"]):
    """Turns the first Ctrl-C into `asked`, to be looked at between steps; a second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._main = threading.current_thread() is threading.main_thread()  # only it may handle signals

    def __enter__(self) -> Interrupts:
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
