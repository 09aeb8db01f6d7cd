"""Calls NVIDIA's driver itself, for what pycuda does not know or ties to a context of its own."""

from __future__ import annotations

import ctypes

from edgead.errors import EngineError

DRIVER = "libcuda.so.1"


class DriverApi:
    """Functions of the driver, called in the context that is current."""

    def __init__(self) -> None:
        """Raises EngineError where the driver cannot be loaded."""
        try:
            self._library = ctypes.CDLL(DRIVER)
        except OSError as error:
            raise EngineError(f"NVIDIA's driver cannot be called: {error}") from error

    def call(self, function: str, *arguments: object) -> None:
        """Raises EngineError with the driver's words unless it succeeds."""
        status = getattr(self._library, function)(*arguments)
        if status:
            raise EngineError(f"{function.partition('_')[0]} failed ({self._words(status)})")

    def _words(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(status, ctypes.byref(text))
        return (text.value or b"").decode() or f"status {status}"
