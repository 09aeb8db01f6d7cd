"""What the server answers about areas: what of each camera's frames is judged, and what was drawn anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgead.errors import EdgeadError
from edgead.web.site import asked_by, body_of

_LARGEST = 64 << 10  # bytes: many polygons
Areas = Annotated[list[str], msgspec.Meta(max_length=100)]


class AreaControl(Protocol):
    """What is asked of the line; see `edgead.stream.areas.StationAreas`."""

    def to_dict(self) -> dict[str, Any]: ...

    def change(
        self, camera: str, recipe: int, drawn: Mapping[str, Sequence[str]], size: tuple[int, int], who: str
    ) -> bool: ...


class _Drawn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    camera: str
    judge: Areas
    ignore: Areas
    size: tuple[int, int]  # width, height
    recipe: int = 0


class AreaPages:
    """The answers about areas; `areas` gives None while there is no line whose areas could be drawn."""

    def __init__(self, areas: Callable[[], AreaControl | None]) -> None:
        self._areas = areas

    def routes(self) -> list[Route]:
        """The paths that are answered here."""
        return [Route("/api/areas", self._state), Route("/api/areas", self._change, methods=["POST"])]

    async def _state(self, request: Request) -> Response:
        areas = self._areas()
        return JSONResponse({"areas": {}, "recipes": [], "persisted": False} if areas is None else areas.to_dict())

    async def _change(self, request: Request) -> Response:
        areas = self._areas()
        if areas is None:
            return JSONResponse({"error": "no line is running whose areas could be changed"}, 409)
        if not request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"error": "send it as application/json"}, 415)
        try:
            drawn = msgspec.json.decode(await body_of(request, _LARGEST), type=_Drawn)
            width, height = drawn.size
            lists = {"judge": drawn.judge, "ignore": drawn.ignore}
            size = (height, width)
            persisted = await asyncio.to_thread(
                areas.change, drawn.camera, drawn.recipe, lists, size, asked_by(request)
            )
        except (ValueError, EdgeadError) as error:  # msgspec's are ValueErrors
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(areas.to_dict() | {"persisted": persisted})
