"""The page's server: uvicorn in one thread, on a socket that is already listening."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from threading import Thread

import uvicorn

from edgead.errors import EdgeadError
from edgead.web.auth import App
from edgead.web.connections import LimitedProtocol

_log = logging.getLogger(__name__)
_START_S = 10.0
_STOP_S = 5.0


class Server:
    """Serves an application until it is closed."""

    def __init__(self, app: App, listening: socket.socket) -> None:
        """Return when it answers; raises EdgeadError."""
        config = uvicorn.Config(
            app,
            http=LimitedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
        )
        self._server, self._socket = uvicorn.Server(config), listening
        self._thread = Thread(target=self._run, name="edgead web", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise EdgeadError("the page's server did not start")
            time.sleep(0.01)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # of a library: the line goes on without its page
            _log.error("the page has ended: %s: %s; start the line again to have it back", type(error).__name__, error)

    async def _serve(self) -> None:
        await self._server.serve([self._socket])
        for connection in list(self._server.server_state.connections):  # of viewers who do not read their answer
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0.05)  # in which what was closed or aborted is released

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(_STOP_S)
        self._socket.close()
