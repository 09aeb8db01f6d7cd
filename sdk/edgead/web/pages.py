"""What the page's server answers. Pictures and state are long polls: an answer comes as soon as there is something
newer, so a slow viewer asks less often and nothing piles up for it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from edgead.errors import EdgeadError
from edgead.web.notifier import AsyncNotifier
from edgead.web.site import Site, asked_by, body_of
from edgead.web.state import DashboardState, picture

FACTORS = (0.1, 10.0)  # of the bundle's threshold, that the page may set
_STATUS_KEYS = ("engine", "precision", "model", "uptime", "dropped", "unreadable", "reconnects", "unwritten", "fault")
_PATIENCE_S = 5.0  # of a long poll for a picture
_BEAT_S = 1.0  # the longest time without a word about the state
_QUIET_S = 10.0  # without a result: not judging


@dataclass(slots=True)
class Hooks:
    """What the page asks of the line, and where. None before there is one."""

    status: Callable[[], dict[str, Any]] | None = None
    set_threshold: Callable[[float, str], None] | None = None  # a factor, and who asks for it
    fire: Callable[[str, str], object] | None = None  # who asks, and a part's id; None: the line has no triggers
    bundles: Callable[[], Any] = lambda: None  # see `edgead.web.bundle_pages.Bundles`
    areas: Callable[[], Any] = lambda: None  # see `edgead.web.area_pages.AreaControl`


@dataclass(slots=True)
class _Cached:
    number: int = 0
    data: bytes = b""
    time: float = -math.inf  # time.monotonic
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Pages:
    """The answers, by path."""

    def __init__(
        self,
        dashboard: DashboardState,
        notifier: AsyncNotifier,
        hooks: Hooks,
        metrics: Callable[[], str],
        station: str,
        site: Site,
        fps: float,
        others: Sequence[Route] = (),
    ) -> None:
        """`others` are the paths of further pages."""
        self._dashboard, self._notifier, self._hooks, self._metrics = dashboard, notifier, hooks, metrics
        self._station, self._period_s = station, 1.0 / fps
        self._pictures: dict[tuple[str, bool], _Cached] = {}
        self._site = site
        self._others = others

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._index),
                *self._site.routes(),
                *self._others,
                Route("/healthz", self._health),
                Route("/metrics", self._text),
                Route("/api/state", self._state),
                Route("/api/picture", self._picture),
                Route("/api/anomaly/{number:int}", self._anomaly),
                Route("/api/threshold", self._set_threshold, methods=["POST"]),
            ]
        )

    async def _index(self, request: Request) -> Response:
        return self._site.page("index.html")

    async def _health(self, request: Request) -> Response:
        """Whether the line judges; of each camera, how much of the last minute could be judged."""
        status = self._status()
        trouble = self._trouble(status)
        lines = [trouble or "judging"]
        for number, camera in enumerate(status.get("cameras", {}).values(), start=1):
            if (share := camera["judged_share"]) is not None:
                lines.append(f"camera {number}: {share:.1%} of the last minute could be judged")
        return PlainTextResponse("\n".join([*lines, ""]), 503 if trouble else 200)

    async def _text(self, request: Request) -> Response:
        return PlainTextResponse(self._metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _state(self, request: Request) -> Response:
        after = _integer(request.query_params.get("after"))
        if request.query_params.get("run") != self._dashboard.run:
            after = 0
        await self._notifier.wait_until(lambda: self._dashboard.number > after, _BEAT_S)
        status, state = self._status(), self._dashboard.state(after)
        state |= {"station": self._station, "trouble": self._trouble(status), "now": time.time()}
        state |= {"review": any(route.path == "/review" for route in self._others)}
        state |= {"can_set": self._hooks.set_threshold is not None, "threshold": status.get("threshold", 1.0)}
        state["line"] = {key: status[key] for key in _STATUS_KEYS if status.get(key)}
        if status:  # the line's own figures; of times, 0 means that none was measured
            state["fps"] = status["fps"]
            state |= {key: {p: ms for p, ms in status[key].items() if ms} for key in ("latency_ms", "age_ms")}
            state |= {name: status.get(name) for name in ("shadow", "handshake", "triggers")}
        if counts := status.get("counts"):
            state["counts"] = dict(sum(map(Counter, counts.values()), Counter()))
        states = status.get("cameras", {})
        shown = {camera["name"] for camera in state["cameras"]}
        state["cameras"] += [{"name": name, "history": []} for name in states if name not in shown]
        for camera in state["cameras"]:
            camera |= {"state": "connected", "since": 0.0, **states.get(camera["name"], {})}
        return JSONResponse(state)

    async def _picture(self, request: Request) -> Response:
        """The newest picture of a camera once it is newer than `after`; 204 when there is none for a while."""
        name, after = request.query_params.get("camera", ""), _integer(request.query_params.get("after"))
        heatmap = request.query_params.get("heatmap") != "0"

        def newer() -> bool:
            latest = self._dashboard.latest(name)
            return latest is not None and latest.number > after

        if not await self._notifier.wait_until(newer, _PATIENCE_S):
            return Response(status_code=204)
        cached = self._pictures.setdefault((name, heatmap), _Cached())
        async with cached.lock:
            if cached.number <= after:  # this viewer has the last one: wait until another is due
                await asyncio.sleep(max(0.0, cached.time + self._period_s - time.monotonic()))
            latest = self._dashboard.latest(name)
            due = time.monotonic() - cached.time >= self._period_s
            if latest is not None and due and latest.number != cached.number:
                cached.data = await asyncio.to_thread(picture, latest, heatmap)
                cached.number, cached.time = latest.number, time.monotonic()
            return Response(cached.data, media_type="image/jpeg", headers={"X-Number": str(cached.number)})

    async def _anomaly(self, request: Request) -> Response:
        anomaly = self._dashboard.anomaly(request.path_params["number"])
        if anomaly is None:
            return PlainTextResponse("That anomaly is no longer kept here.\n", 404)
        data = anomaly.thumb if "thumb" in request.query_params else anomaly.picture
        return Response(data, media_type="image/jpeg")

    async def _set_threshold(self, request: Request) -> Response:
        if self._hooks.set_threshold is None:
            return JSONResponse({"error": "no line is running that could take it"}, 409)
        if not request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"error": "send it as application/json"}, 415)
        try:
            wanted = msgspec.json.decode(await body_of(request), type=_Threshold)
            if not FACTORS[0] <= wanted.factor <= FACTORS[1]:
                raise ValueError(f"the factor must lie between {FACTORS[0]} and {FACTORS[1]}")
            await asyncio.to_thread(self._hooks.set_threshold, wanted.factor, asked_by(request))
        except (ValueError, EdgeadError) as error:  # msgspec's are ValueErrors
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"threshold": wanted.factor, "persisted": False})

    def _status(self) -> dict[str, Any]:
        return self._hooks.status() if self._hooks.status is not None else {}

    def _trouble(self, status: dict[str, Any]) -> str:
        """Why the line is not judging, without names, since anyone may ask; empty while it is."""
        lost = sum(camera["state"] == "lost" for camera in status.get("cameras", {}).values())
        quiet = self._dashboard.quiet()
        if lost:
            return "a camera is lost" if lost == 1 else f"{lost} cameras are lost"
        blind = sum(camera["judged_share"] == 0 for camera in status.get("cameras", {}).values())
        if blind:
            return f"no frame of {'a camera' if blind == 1 else f'{blind} cameras'} could be judged for a minute"
        if math.isinf(quiet):
            return "nothing judged yet"
        return f"nothing judged for {quiet:.0f} seconds" if quiet > _QUIET_S else ""


class _Threshold(msgspec.Struct):
    factor: float


def _integer(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 18 else 0
