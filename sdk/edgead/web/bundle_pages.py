"""What the server answers about bundles: how the shadow compares, its disagreements, promotion and rollback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgead.errors import EdgeadError
from edgead.web.site import asked_by, body_of


class Bundles(Protocol):
    """What is asked of the line; see `edgead.stream.sinks.base.BundleControl`."""

    def to_dict(self) -> dict[str, Any]: ...

    def picture(self, disagreement: str, kind: str) -> bytes: ...

    def promote(self, who: str) -> None: ...

    def rollback(self, who: str) -> None: ...


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    what: Literal["promote", "rollback"]


class BundlePages:
    """The answers about the bundles of a line; `bundles` gives None while there is no line that has a file of one."""

    def __init__(self, bundles: Callable[[], Bundles | None]) -> None:
        self._bundles = bundles

    def routes(self) -> list[Route]:
        """The paths that are answered here."""
        return [
            Route("/api/bundle", self._state),
            Route("/api/bundle/picture", self._picture),
            Route("/api/bundle", self._change, methods=["POST"]),
        ]

    async def _state(self, request: Request) -> Response:
        bundles = self._bundles()
        if bundles is None:
            return JSONResponse({"history": [], "possible": [], "disagreements": []})
        return JSONResponse(await asyncio.to_thread(bundles.to_dict))

    async def _picture(self, request: Request) -> Response:
        bundles, asked = self._bundles(), request.query_params
        try:
            if bundles is None:
                raise EdgeadError("no line is running")
            data = await asyncio.to_thread(bundles.picture, asked.get("id", ""), asked.get("kind", "line"))
        except (EdgeadError, OSError) as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(data, media_type="image/jpeg")

    async def _change(self, request: Request) -> Response:
        bundles = self._bundles()
        if bundles is None:
            return JSONResponse({"error": "no line is running whose bundle could be changed"}, 409)
        if not request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"error": "send it as application/json"}, 415)
        try:
            wanted = msgspec.json.decode(await body_of(request), type=_Change)
            act = bundles.promote if wanted.what == "promote" else bundles.rollback
            await asyncio.to_thread(act, asked_by(request))
        except (ValueError, EdgeadError) as error:  # msgspec's are ValueErrors
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(await asyncio.to_thread(bundles.to_dict))
