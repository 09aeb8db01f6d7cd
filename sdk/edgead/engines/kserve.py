"""Has an inference server judge frames, such as Triton or `edgead serve`, and this machine's own engine where it fails.

`kserve:HOST:PORT?deadline=250` is asked over HTTP, `kserve:grpc://HOST:PORT` over gRPC. What is sent is the frame at
the network's size, so that the link carries no more than the network sees; the rest is done there, by the same code. A
server that does not answer within the deadline, answers with another bundle, or with a network whose thresholds are
others, costs that one deadline: frames are judged here until it is found to be well again, in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgead import ops
from edgead.bundle import Bundle
from edgead.bundle.draft import Model
from edgead.engines import load_engine
from edgead.engines.base import Engine
from edgead.errors import DataError, EngineError, UsageError
from edgead.kserve.client import EXAMPLE, Address, Client, ServerError, read_address
from edgead.kserve.http import HttpClient
from edgead.kserve.model import IMAGE, Source, from_tensors, model_name, outputs_of
from edgead.registry import Lazy
from edgead.types import ImageU8, Reading

FIRST_PROBE_S, LAST_PROBE_S = 1.0, 30.0  # between two looks whether the server is well again
LEAVE_S = 2.0  # that a look which is under way may take at the end
_GRPC = Lazy("edgead.kserve.grpc:GrpcClient", extra="kserve")
_UNUSED = "calibrated_score"  # the detector calibrates by itself

_log = logging.getLogger(__name__)


class KserveEngine(Engine):
    """A server, and the engine that takes its place. Thresholds are those of the latter's network."""

    name = "kserve"

    def __init__(
        self, bundle: Model, precision: str = "auto", threads: int = 0, place: str = "", device: int = 0
    ) -> None:
        """`place` is the server's address. A server that is not there yet costs no error: this machine judges.

        Raises UsageError for an address that is none, and what loading an engine here raises.
        """
        if not isinstance(bundle, Bundle):
            raise UsageError("the engine 'kserve' is for finished bundles: a build measures with an engine here")
        if not place:
            raise UsageError(f"the engine 'kserve' needs the address of a server, like {EXAMPLE}")
        self._address = read_address(place)
        self._client = _connect(self._address)  # first: a missing package is said before anything is loaded
        self._local = load_engine(bundle, "auto", precision, threads, device)
        self.precision = self._local.precision
        self._bundle = bundle
        self._artifact = bundle.manifest.artifact(self.precision, self._local.name)
        self._model = self._address.model or model_name(bundle.manifest.name)
        self._outputs = [port.name for port in outputs_of(bundle.manifest) if port.name != _UNUSED]
        self._accepted: set[Source] = set()
        self._is_open = True
        self._is_up = True  # until a frame finds out
        self._wait_s = FIRST_PROBE_S
        self._closing = threading.Event()
        self._prober: threading.Thread | None = None

    @property
    def fitted_for(self) -> str:
        return self._local.fitted_for

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        if not self._is_open:
            raise EngineError("the engine is closed: make a new Detector")
        readings: list[Reading] = []
        for image in images:
            if self._is_up:
                try:
                    readings.append(self._ask(image))
                    continue
                except ServerError as error:
                    self._give_up(str(error))
            readings += [replace(one, judged_by=self._local.name) for one in self._local.infer([image])]
        return readings

    def _ask(self, image: ImageU8) -> Reading:
        start = time.perf_counter()
        spec, fusion = self._bundle.manifest.input, self._bundle.manifest.fusion
        small = np.ascontiguousarray(ops.resize(image, *spec.frame))
        sent = time.perf_counter()
        tensors = self._client.infer(self._model, {IMAGE: small}, self._outputs, self._address.deadline_s)
        try:
            reading, source = from_tensors(tensors, (fusion.height, fusion.width))
        except DataError as error:
            raise ServerError(str(error)) from error
        self._check(source)
        self._wait_s = FIRST_PROBE_S
        local, trip = 1e3 * (sent - start), 1e3 * (time.perf_counter() - sent)
        post = reading.postprocess_ms
        return replace(
            reading, preprocess_ms=local, infer_ms=max(0.0, trip - post), judged_by=f"{self.name}/{source.engine}"
        )

    def _check(self, source: Source) -> None:
        """Raise ServerError unless the server judges with the same bundle, and a network of the same thresholds."""
        if source in self._accepted:
            return
        manifest, digest = self._bundle.manifest, self._bundle.digest
        if source.bundle != digest:
            raise ServerError(f"it judges with the bundle {source.bundle[:12]}, and this line with {digest[:12]}")
        try:
            theirs = manifest.artifact(source.precision, source.engine)
        except ValueError as error:  # a BundleError
            raise ServerError(str(error)) from error
        if theirs != self._artifact:
            raise ServerError(
                f"it runs {source.precision} on {source.engine}, whose thresholds are others than those of "
                f"{self.precision} on {self._local.name}: give both the same --precision"
            )
        self._accepted.add(source)

    def _give_up(self, reason: str) -> None:
        """Judge here until the server is well again."""
        self._is_up = False
        where = f"{self._local.name} on this machine judges"
        _log.warning("the server %s is not used: %s; %s", self._address.netloc, reason, where)
        self._prober = threading.Thread(target=self._probe, name="edgead kserve", daemon=True)
        self._prober.start()

    def _probe(self) -> None:
        """Look again and again, ever more seldom, until the server is ready; alone with a connection of its own."""
        client = _connect(self._address)
        try:
            while not self._closing.wait(self._wait_s):
                self._wait_s = min(2 * self._wait_s, LAST_PROBE_S)
                if client.is_ready(self._model, max(1.0, self._address.deadline_s)):
                    _log.warning("the server %s is ready and asked again", self._address.netloc)
                    self._is_up = True
                    return
        finally:
            client.close()

    def close(self) -> None:
        self._is_open = False
        self._closing.set()
        if self._prober is not None:
            self._prober.join(LEAVE_S)
        self._client.close()
        self._local.close()


def _connect(address: Address) -> Client:
    if address.scheme in ("http", "https"):
        return HttpClient(address)
    client: Client = _GRPC.load("the engine 'kserve' over gRPC")(address)
    return client
