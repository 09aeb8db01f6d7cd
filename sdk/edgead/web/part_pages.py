"""What the server answers about parts: a trigger that a person fires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgead.errors import EdgeadError
from edgead.web.site import asked_by, body_of

Fire = Callable[[str, str], object]  # who asks, and the part's id


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    part: str = ""


class PartPages:
    """The answers about the parts of a line; `fire` gives None while there is no line."""

    def __init__(self, fire: Callable[[], Fire | None]) -> None:
        self._fire = fire

    def routes(self) -> list[Route]:
        """The paths that are answered here."""
        return [Route("/api/trigger", self._trigger, methods=["POST"])]

    async def _trigger(self, request: Request) -> Response:
        """Fire one trigger; its answer is among the parts of the state."""
        fire = self._fire()
        if fire is None:
            return JSONResponse({"error": "no line is running that could take it"}, 409)
        if not request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"error": "send it as application/json"}, 415)
        try:
            wanted = msgspec.json.decode(await body_of(request), type=_Part)
            await asyncio.to_thread(fire, asked_by(request), wanted.part)
        except (ValueError, EdgeadError) as error:  # msgspec's are ValueErrors
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"part": wanted.part}, 202)
