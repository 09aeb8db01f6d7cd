"""Records work that is the same every time as a CUDA graph, which is then launched as one.

pycuda does not know them, so the driver itself is called; the streams are pycuda's.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Hashable
from contextlib import suppress

from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.driver_api import DriverApi
from edgead.errors import EngineError

THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do on the GPU does not disturb

_MOST_KEYS = 1000  # that are remembered: frames of ever new sizes must not fill the memory
_log = logging.getLogger(__name__)


class Graph:
    """What `work` puts into the stream when it is called, to be launched again and again.

    Every address in it stays as it was, and so do the arguments of the kernels.
    """

    def __init__(self, gpu: CudaContext, stream: Stream, work: Callable[[], object]) -> None:
        """Record; nothing is done yet. Raises EngineError where the driver cannot, or `work` waits or allocates."""
        self._api, self._gpu = DriverApi(), gpu
        self._ready = ctypes.c_void_p()
        graph = self._capture(ctypes.c_void_p(stream.handle), work)
        try:
            self._api.call("cuGraphInstantiateWithFlags", ctypes.byref(self._ready), graph, ctypes.c_ulonglong(0))
        finally:
            self._api.call("cuGraphDestroy", graph)
        gpu.on_close(self._destroy)

    def _capture(self, stream: ctypes.c_void_p, work: Callable[[], object]) -> ctypes.c_void_p:
        graph = ctypes.c_void_p()
        self._api.call("cuStreamBeginCapture_v2", stream, THREAD_LOCAL)
        try:
            with self._gpu.current():  # where what fails is an EngineError
                work()
        except BaseException:
            with suppress(EngineError):  # spoilt, as a rule
                self._api.call("cuStreamEndCapture", stream, ctypes.byref(graph))
                self._api.call("cuGraphDestroy", graph)
            raise
        self._api.call("cuStreamEndCapture", stream, ctypes.byref(graph))
        return graph

    def launch(self, stream: Stream) -> None:
        self._api.call("cuGraphLaunch", self._ready, ctypes.c_void_p(stream.handle))

    def _destroy(self) -> None:
        if self._ready:
            ready, self._ready = self._ready, ctypes.c_void_p()
            with suppress(EngineError):  # after a fault of the GPU it is gone
                self._api.call("cuGraphExecDestroy", ready)


class GraphCache:
    """Launches work that is the same every time as one CUDA graph for each kind of it, told apart by a key.

    The first time work is done as it is, since a library may allocate then; the second time it is recorded, and from
    then on launched. What cannot be recorded is done as it is, with one warning.
    """

    def __init__(self, gpu: CudaContext, stream: Stream, name: str, most: int = 16) -> None:
        """`most` kinds are recorded, those that came twice first; others are done as they are."""
        self._gpu, self._stream, self._name, self._most = gpu, stream, name, most
        self._done: set[Hashable] = set()  # once, as it is
        self._graphs: dict[Hashable, Graph] = {}
        self._is_refused = False

    def run(self, key: Hashable, work: Callable[[], object]) -> None:
        """Put the work into the stream. Its addresses and arguments must be those of every other work of that key."""
        if key in self._done and key not in self._graphs and len(self._graphs) < self._most and not self._is_refused:
            try:
                self._graphs[key] = Graph(self._gpu, self._stream, work)
            except EngineError as error:
                self._is_refused = True
                _log.warning("%s runs without CUDA graphs, which is slower: %s", self._name, error)
        if key in self._graphs:
            self._graphs[key].launch(self._stream)
            return
        work()
        if len(self._done) < _MOST_KEYS:
            self._done.add(key)
