"""Serves the live page, at http://127.0.0.1:8080 unless told otherwise; `edgead.web` has the page."""

from __future__ import annotations

import socket
from pathlib import Path

from edgead.errors import DataError, UsageError
from edgead.result import Result
from edgead.review.archive import ReviewFolder
from edgead.review.layout import day_of
from edgead.stream.sinks.base import PipelineControl, Sink
from edgead.stream.sinks.exposition import Tally
from edgead.stream.sinks.images import event_name
from edgead.types import Frame
from edgead.web.address import read_address, split_names
from edgead.web.area_pages import AreaPages
from edgead.web.auth import AuthMiddleware
from edgead.web.bundle_pages import BundlePages
from edgead.web.notifier import AsyncNotifier
from edgead.web.pages import Hooks, Pages
from edgead.web.part_pages import PartPages
from edgead.web.review_pages import ReviewPages
from edgead.web.server import Server
from edgead.web.site import Site
from edgead.web.state import DashboardState


class Web(Sink):
    """Serves the page from a thread of its own; beyond loopback only to those who have EDGEAD_TOKEN."""

    def __init__(
        self,
        address: str = "8080",
        *,
        fps: float = 10.0,
        station: str = "",
        names: str = "",
        review: Path | None = None,
    ) -> None:
        """Listen at once; raises UsageError.

        `fps` is the most pictures a second that a viewer gets of a camera, `station` the title of the page (the
        machine's name unless given), `names` further names of this machine, with commas between, under which a
        browser may ask for the page, `review` the folder of saved events that is reviewed at /review.
        """
        if not 0 < fps <= 60:
            raise UsageError("the page's fps must be more than 0 and at most 60")
        where = read_address(address, "web")
        self._notifier, self._hooks, self._tally = AsyncNotifier(), Hooks(), Tally()
        self._dashboard = DashboardState(self._notifier.notify)
        self._pipeline: PipelineControl | None = None
        title = station or socket.gethostname()
        self._review = None if review is None else ReviewFolder(_made(review))
        site = Site(where.token)
        others = [] if self._review is None else ReviewPages(self._review, site).routes()
        others += BundlePages(lambda: self._hooks.bundles()).routes() + AreaPages(lambda: self._hooks.areas()).routes()
        others += PartPages(lambda: self._hooks.fire).routes()
        pages = Pages(self._dashboard, self._notifier, self._hooks, self._metrics, title, site, fps, others)
        listening = where.listen()
        self.port: int = listening.getsockname()[1]
        self._server = Server(AuthMiddleware(pages.app(), where.token, split_names(names), where.loopback), listening)

    def attach(self, pipeline: PipelineControl) -> None:
        self._pipeline = pipeline
        self._hooks.status = lambda: pipeline.status().to_dict()
        self._hooks.set_threshold = pipeline.set_threshold
        self._hooks.fire = pipeline.fire
        self._hooks.bundles = lambda: pipeline.bundles
        self._hooks.areas = lambda: pipeline.areas

    def emit(self, frame: Frame, result: Result) -> None:
        self._tally.observe(result)
        event = f"{day_of(frame.time)}/{event_name(frame, result)}" if frame.time else ""
        self._dashboard.add(frame, result, event)

    def _metrics(self) -> str:
        return self._tally.text(self._pipeline.status() if self._pipeline is not None else None)

    def close(self) -> None:
        self._notifier.close()
        self._server.close()
        if self._review is not None:
            self._review.close()


def _made(folder: Path) -> Path:
    """The folder, made where the sink that keeps events has not done it yet; raises DataError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be made: {error.strerror}") from error
    return folder
