"""Limits connections to the page's server, so that silent or unauthorized ones keep nobody out.

A request must be complete, and its answer taken, within a deadline. Connections that no request with the token has
come over share a few places: when these are taken, the one that has waited longest gives way to the newest.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

KEY = "edgead.connection"  # in the state of a request's scope: the connection it came over

_STRANGERS, _ALL = 32, 256  # connections
_REQUEST_S = 5.0  # to send a request, and between two of a stranger
_IDLE_S = 30.0  # between two requests of who has the token
_ANSWER_S = 60.0  # to take an answer, pictures over a slow network among them


class LimitedProtocol(H11Protocol):
    """uvicorn's, with deadlines and a share of the places."""

    trusted = False  # a request that may be answered has come over it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = time.monotonic()
        self._deadline: asyncio.TimerHandle | None = None
        self._expire_after(_REQUEST_S)
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expire_after(None)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.answering:
            self.scope["state"][KEY] = self
            if not self.cycle.more_body:
                self._expire_after(_ANSWER_S)

    def on_response_complete(self) -> None:
        self.since = time.monotonic()
        self._expire_after(_IDLE_S if self.trusted else _REQUEST_S)
        super().on_response_complete()

    @property
    def answering(self) -> bool:
        """Whether a request has come that is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _expire_after(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def _make_room(self) -> None:
        every = [one for one in self.connections if isinstance(one, LimitedProtocol)]
        strangers = [one for one in every if not one.trusted]
        for group, most in ((strangers, _STRANGERS), (every, _ALL)):
            if len(group) > most:
                min(group, key=lambda one: (one.answering, one.since)).transport.abort()


def trust(scope: Any) -> None:
    """Note that a request with the right token has come over the connection of this one."""
    if isinstance(connection := scope.get("state", {}).get(KEY), LimitedProtocol):
        connection.trusted = True
