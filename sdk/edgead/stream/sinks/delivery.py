"""What carries results from the disk queue to a receiver: a thread that tries again, ever more patiently, and ends only
when it is told to."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from urllib.parse import SplitResult, urlsplit

from edgead.errors import UsageError
from edgead.files import state_folder
from edgead.result import Result
from edgead.stream.sinks.dead_letters import DeadLetters
from edgead.stream.sinks.disk_queue import DiskQueue, Record

LONGEST_PAUSE_S = 60.0
_IDLE_S = 0.25
_ATTEMPTS = 3  # of a record that meets an exception nobody has foreseen; then it is given up
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?")  # a label of a name

_log = logging.getLogger(__name__)


class DeliveryWorker:
    """Delivers the records of a queue in order, from a thread of its own."""

    def __init__(
        self,
        queue: DiskQueue,
        letters: DeadLetters,
        deliver: Callable[[Sequence[Record]], int],
        name: str,
        pause_s: float,
        *,
        batch: int = 1,
        abort: Callable[[], None] = lambda: None,
    ) -> None:
        """Start at once. `deliver` takes up to `batch` records and returns how many of the first have arrived.

        It may wait some seconds and return 0; an OSError of it is reported once, and the records are tried again
        after `pause_s` seconds, twice as long after each failure, up to a minute. After any other exception the
        records are tried one by one, and the one that meets it again and again goes to the dead letters. `abort` has
        a delivery that waits return. `close` closes queue and letters.
        """
        self._queue, self._letters, self._deliver, self._abort = queue, letters, deliver, abort
        self._name, self._batch, self._pause_s = name, batch, pause_s
        self._failures = 0
        self._strange = 0  # exceptions in a row that are no OSError
        self._ending = Event()
        self._thread = Thread(target=self._run, name=f"edgead {name}", daemon=True)
        self._thread.start()

    def lost(self) -> dict[str, int]:
        """Results that can no longer arrive, by reason."""
        damaged = {"damaged on the disk": self._queue.damaged} if self._queue.damaged else {}
        return {**self._letters.counts, **damaged}

    def give_up(self, record: Record, message: str, reason: str) -> None:
        """Count a record as lost and keep it as a dead letter; the caller says that it has been dealt with."""
        self._letters.add(record.number, message, reason)

    def close(self, drain_s: float) -> None:
        """Give what waits `drain_s` seconds to arrive; the rest stays on the disk for the next start."""
        if self._ending.is_set():
            return
        deadline = time.monotonic() + drain_s
        while len(self._queue) and not self._failures and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.01)
        self._ending.set()
        self._queue.wake()
        self._abort()
        self._thread.join(5.0)
        if left := len(self._queue):
            _log.warning("%d results for %s wait on the disk for the next start", left, self._name)
        self._letters.close()
        self._queue.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._queue.sync()
                self._step()
            except OSError as error:
                self._fail(str(error))
            except Exception as error:  # a fault of this program or of a library: the thread goes on all the same
                self._strange += 1
                self._fail(f"{type(error).__name__}: {error}")
                if self._strange >= _ATTEMPTS:
                    self._give_up_first(f"{type(error).__name__}: {error}")

    def _step(self) -> None:
        records = self._queue.peek(1 if self._strange else self._batch)
        if not records:
            self._queue.wait(_IDLE_S)
            return
        arrived = self._deliver(records)
        if arrived:
            self._queue.acknowledge(records[arrived - 1].number)
            if self._failures:
                _log.warning("%s takes results again", self._name)
            self._failures = self._strange = 0

    def _give_up_first(self, reason: str) -> None:
        """Deal with the record that cannot be delivered for a reason of its own."""
        self._strange = 0
        for record in self._queue.peek(1):
            self.give_up(record, record.data.decode("utf-8", "replace"), reason)
            self._queue.acknowledge(record.number)

    def _fail(self, words: str) -> None:
        if self._ending.is_set():
            return
        if not self._failures:
            _log.error("%s takes no results: %s; they wait on the disk", self._name, words)
        pause = min(LONGEST_PAUSE_S, self._pause_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        self._ending.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that many lines do not come at once


def queue_folder(wanted: Path | None, target: str) -> Path:
    """Where results for `target` wait: as wanted, else in a folder of its own below the state folder."""
    return wanted or state_folder("queues") / hashlib.sha256(target.encode()).hexdigest()[:16]


def message(number: int, station: str, result: Result) -> bytes:
    """A result as it is sent, in JSON: its number in the queue, which tells a repeated one, before all else."""
    return f'{{"sequence": {number}, "station": {json.dumps(station)}, {result.to_json()[1:]}'.encode()


def read_url(url: str, example: str) -> SplitResult:
    """The parts of a URL; raises UsageError where it has none."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise UsageError(f"the address of the sink cannot be read ({error}): write it like {example}") from None


def host_and_port(url: SplitResult, example: str, port: int) -> tuple[str, int]:
    """Where a URL points to, the host in ASCII; `port` where it names none. Raises UsageError."""
    try:
        given = url.port
    except ValueError as error:
        raise UsageError(f"the port of the sink '{url.scheme}' is no number up to 65535: write {example}") from error
    if not url.hostname:
        raise UsageError(f"the sink '{url.scheme}' needs a host, like {example}")
    return _checked_host(url.hostname, url.scheme, example), given or port


def _checked_host(host: str, scheme: str, example: str) -> str:
    """The host as it is looked up: an IP address, or a name whose letters beyond ASCII are encoded."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        name = ""
    if not name or len(name) > 253 or not all(_HOST.fullmatch(label) for label in name.rstrip(".").split(".")):
        raise UsageError(f"the sink '{scheme}' cannot reach a host called '{host}': write it like {example}")
    return name
