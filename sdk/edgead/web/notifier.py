"""Wakes those who wait in the server's loop when another thread has something new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class AsyncNotifier:
    """`notify` from any thread; `wait_until` in one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def notify(self) -> None:
        """Wake those who wait, to look again. It costs nothing while nobody waits."""
        if self._loop is not None and self._waiting:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Wake everybody for good."""
        self._closed = True
        self.notify()

    async def wait_until(self, fact: Callable[[], bool], seconds: float) -> bool:
        """Wait until `fact` is true, at most `seconds` and until this is closed; whether it is true."""
        self._loop = asyncio.get_running_loop()
        deadline = self._loop.time() + seconds
        while True:
            future = self._loop.create_future()
            self._waiting.add(future)
            try:  # looked at after the future is added, so that no notification is missed
                if fact() or self._closed or self._loop.time() >= deadline:
                    return fact()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(future, deadline - self._loop.time())
            finally:
                self._waiting.discard(future)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
