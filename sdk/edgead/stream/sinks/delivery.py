"""What carries results from the disk queue to a receiver: a thread that tries again, ever more patiently, for ever."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from urllib.parse import SplitResult

from edgead.errors import UsageError
from edgead.stream.sinks.disk_queue import DiskQueue, Record
from edgead.types import Result

LONGEST_PAUSE_S = 60.0
_IDLE_S = 0.25

_log = logging.getLogger(__name__)


class DeliveryWorker:
    """Delivers the records of a queue in order, from a thread of its own."""

    def __init__(
        self, queue: DiskQueue, deliver: Callable[[Sequence[Record]], int], name: str, pause_s: float, batch: int = 1
    ) -> None:
        """Start at once. `deliver` takes up to `batch` records and returns how many of the first have arrived.

        It may wait some seconds and return 0; an OSError of it is reported once, and the records are tried again
        after `pause_s` seconds, twice as long after each failure, up to a minute. The queue is closed by `close`.
        """
        self._queue, self._deliver, self._name, self._batch = queue, deliver, name, batch
        self._pause_s = pause_s
        self._failures = 0
        self._ending = Event()
        self._thread = Thread(target=self._run, name=f"edgead {name}", daemon=True)
        self._thread.start()

    def close(self, drain_s: float) -> None:
        """Give what waits `drain_s` seconds to arrive; the rest stays on the disk for the next start."""
        if self._ending.is_set():
            return
        deadline = time.monotonic() + drain_s
        while len(self._queue) and not self._failures and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.01)
        self._ending.set()
        self._queue.wake()
        self._thread.join(drain_s + 5.0)
        if left := len(self._queue):
            _log.warning("%d results for %s wait on the disk for the next start", left, self._name)
        self._queue.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._queue.sync()
                self._step()
            except OSError as error:
                self._fail(error)

    def _step(self) -> None:
        records = self._queue.peek(self._batch)
        if not records:
            self._queue.wait(_IDLE_S)
            return
        arrived = self._deliver(records)
        if arrived:
            self._queue.acknowledge(records[arrived - 1].number)
            if self._failures:
                _log.warning("%s takes results again", self._name)
            self._failures = 0

    def _fail(self, error: OSError) -> None:
        if not self._failures:
            _log.error("%s takes no results: %s; they wait on the disk", self._name, error)
        pause = min(LONGEST_PAUSE_S, self._pause_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        self._ending.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that many lines do not knock at once


def queue_folder(wished: Path | None, target: str) -> Path:
    """Where results for `target` wait: as wished, else in a folder of its own below the state folder.

    That is systemd's STATE_DIRECTORY, else XDG_STATE_HOME/edgead, else ~/.local/state/edgead.
    """
    if wished is not None:
        return wished
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    base = Path(state) if state else Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "edgead"
    return base / "queues" / hashlib.sha256(target.encode()).hexdigest()[:16]


def message(number: int, station: str, result: Result) -> bytes:
    """A result as it is sent, in JSON: its number in the queue, which tells a repeated one, before all else."""
    return f'{{"sequence": {number}, "station": {json.dumps(station)}, {result.to_json()[1:]}'.encode()


def host_and_port(url: SplitResult, example: str, port: int) -> tuple[str, int]:
    """Where a URL points to; `port` where it names none. Raises UsageError."""
    try:
        given = url.port
    except ValueError as error:
        raise UsageError(f"the port of the sink '{url.scheme}' is no number up to 65535: write {example}") from error
    if not url.hostname:
        raise UsageError(f"the sink '{url.scheme}' needs a host, like {example}")
    return url.hostname, given or port
