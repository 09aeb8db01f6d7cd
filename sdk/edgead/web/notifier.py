"""Wakes those who wait in the server's loop when another thread has something new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class AsyncNotifier:
    """`ring` from any thread; `heard` in one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def ring(self) -> None:
        """Let those who wait look again. It costs nothing while nobody does."""
        if self._loop is not None and self._waiting:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Let everybody go."""
        self._closed = True
        self.ring()

    async def heard(self, fact: Callable[[], bool], seconds: float) -> bool:
        """Wait until `fact` is true, at most `seconds` and until the bell is closed; whether it is."""
        self._loop = asyncio.get_running_loop()
        deadline = self._loop.time() + seconds
        while True:
            ringing = self._loop.create_future()
            self._waiting.add(ringing)
            try:  # looked at after the bell is hung up, so that no ring is missed
                if fact() or self._closed or self._loop.time() >= deadline:
                    return fact()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(ringing, deadline - self._loop.time())
            finally:
                self._waiting.discard(ringing)

    def _wake(self) -> None:
        for ringing in self._waiting:
            if not ringing.done():
                ringing.set_result(None)
