"""What the server answers about saved events: the review page, searches, pictures and labels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from edgead.errors import EdgeadError, UsageError
from edgead.review.archive import ReviewFolder
from edgead.review.labels import Label, check_person
from edgead.review.search import Query
from edgead.web.site import Site, body_of

_LARGEST = 64 << 10  # bytes of a label: many polygons


class _Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    event: str
    person: str
    label: Label


class _Undo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    person: str


class ReviewPages:
    """The answers about one folder of events."""

    def __init__(self, review: ReviewFolder, site: Site) -> None:
        self._review, self._site = review, site

    def routes(self) -> list[Route]:
        """The paths that are answered here."""
        return [
            Route("/review", self._index),
            Route("/api/review/events", self._events),
            Route("/api/review/facets", self._facets),
            Route("/api/review/event", self._event),
            Route("/api/review/picture", self._picture),
            Route("/api/review/label", self._label, methods=["POST"]),
            Route("/api/review/undo", self._undo, methods=["POST"]),
        ]

    async def _index(self, request: Request) -> Response:
        return self._site.page("review.html")

    async def _events(self, request: Request) -> Response:
        def found() -> dict[str, Any]:
            given = {name: value for name, value in request.query_params.items() if value or name == "camera"}
            found = self._review.search(msgspec.convert(given, Query, strict=False))
            entries = [asdict(entry) for entry in found.entries]
            return {"total": found.total, "events": entries, "reading": self._review.reading}

        return await _answered(found)

    async def _facets(self, request: Request) -> Response:
        return await _answered(self._review.facets)

    async def _event(self, request: Request) -> Response:
        """An event as `person` may see it: what others say of it only once the person has said something."""
        event, person = request.query_params.get("id", ""), request.query_params.get("person", "")

        def shown() -> dict[str, Any]:
            told = self._review.event(event)
            labels = told["labels"] if person in told["labels"] else {}
            hidden = len(told["labels"]) - len(labels)
            return told | {"labels": msgspec.to_builtins(labels), "hidden": hidden}

        return await _answered(shown)

    async def _picture(self, request: Request) -> Response:
        event, kind = request.query_params.get("id", ""), request.query_params.get("kind", "frame")
        try:
            if kind == "thumb":
                data, media = await asyncio.to_thread(self._review.thumb, event), "image/jpeg"
            else:
                data, media = await asyncio.to_thread(self._review.picture, event, heatmap=kind == "heatmap")
        except (EdgeadError, OSError) as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(data, media_type=media)

    async def _label(self, request: Request) -> Response:
        raw = await body_of(request, _LARGEST)

        def labeled() -> dict[str, Any]:
            said = msgspec.json.decode(raw, type=_Said)
            self._review.label(said.event, said.person, said.label)
            return self._state(said.event, said.person)

        return await _changed(request, labeled)

    async def _undo(self, request: Request) -> Response:
        raw = await body_of(request, _LARGEST)

        def undone() -> dict[str, Any]:
            person = check_person(msgspec.json.decode(raw, type=_Undo).person)
            event = self._review.undo(person)
            return {"event": None} if event is None else self._state(event, person)

        return await _changed(request, undone)

    def _state(self, event: str, person: str) -> dict[str, Any]:
        """What is listed of an event."""
        entry = self._review.entry(event)
        return {"event": event, "entry": None if entry is None else asdict(entry), "person": person}


async def _answered(answer: Callable[[], dict[str, Any]]) -> Response:
    """What a function gives, asked in another thread; 400 and a sentence for what it cannot do."""
    try:
        return JSONResponse(await asyncio.to_thread(answer))
    except UsageError as error:
        return JSONResponse({"error": str(error)}, 400)
    except (ValueError, EdgeadError, OSError) as error:  # msgspec's are ValueErrors
        return JSONResponse({"error": str(error)}, 400 if isinstance(error, ValueError) else 500)


async def _changed(request: Request, change: Callable[[], dict[str, Any]]) -> Response:
    if not request.headers.get("content-type", "").startswith("application/json"):
        return JSONResponse({"error": "send it as application/json"}, 415)
    return await _answered(change)


def review_app(review: ReviewFolder, token: str) -> Starlette:
    """The review page alone, without a line."""
    site = Site(token)

    async def start(request: Request) -> Response:
        return RedirectResponse("/review", 303)

    return Starlette(routes=[Route("/", start), *site.routes(), *ReviewPages(review, site).routes()])
