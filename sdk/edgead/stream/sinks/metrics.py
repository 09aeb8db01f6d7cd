"""Serves metrics for Prometheus, at http://127.0.0.1:9108/metrics unless told otherwise."""

from __future__ import annotations

from edgead.result import Result
from edgead.stream.sinks.base import PipelineControl, Sink
from edgead.stream.sinks.exposition import CONTENT_TYPE, Tally
from edgead.types import Frame
from edgead.web.address import read_address, split_names
from edgead.web.plain import PlainHandler, PlainServer


class Metrics(Sink):
    """Counts results and answers who asks. Beyond loopback EDGEAD_TOKEN is asked for as a bearer token."""

    needs_pixels = False

    def __init__(self, address: str = "9108", *, names: str = "") -> None:
        """Listen at once; raises UsageError.

        `names` are further names of this machine, with commas between, under which the metrics may be asked for.
        """
        where = read_address(address, "metrics")
        self._tally = Tally()
        self._pipeline: PipelineControl | None = None
        self._server = PlainServer(where, _Handler, self, split_names(names), "edgead metrics")
        self.port = self._server.port

    def attach(self, pipeline: PipelineControl) -> None:
        self._pipeline = pipeline

    def emit(self, frame: Frame, result: Result) -> None:
        self._tally.observe(result)

    def text(self) -> str:
        """The metrics now."""
        return self._tally.text(self._pipeline.status() if self._pipeline is not None else None)

    def close(self) -> None:
        self._server.close()


class _Handler(PlainHandler):
    def do_GET(self) -> None:
        if not self.allowed():
            return
        if self.path.partition("?")[0] != "/metrics":
            self.answer(404, "the metrics are at /metrics\n")
        else:
            self.answer(200, self.server.owner.text(), {"Content-Type": CONTENT_TYPE})
