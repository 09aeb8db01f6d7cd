"""Results to a web server: one POST of JSON each, through a queue on the disk.

What is promised: every result that `emit` took is posted until the server answers with 2xx, in order; see
`disk_queue` for crashes, power cuts and the limit. Only what the server says it will never take (400, 413, 422) is
given up, and logged. A result may come twice; `Idempotency-Key` is then the same.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from edgead.errors import UsageError
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.delivery import DeliveryWorker, host_and_port, message, queue_folder
from edgead.stream.sinks.disk_queue import DiskQueue, Record
from edgead.stream.sinks.options import Size, Verdicts
from edgead.types import Frame, Result, Verdict

_PORTS = {"http": 80, "https": 443}
_NEVER = (400, 413, 422)  # the message is at fault: it would block all that come after it

_log = logging.getLogger(__name__)


class Webhook(Sink):
    """Posts results of the chosen verdicts. `emit` writes to the disk and never waits for the server."""

    needs_pixels = False

    def __init__(
        self,
        url: str,
        *,
        verdicts: Verdicts = frozenset({Verdict.NG}),
        station: str = "",
        timeout: float = 10.0,
        retry: float = 1.0,
        ca: Path | None = None,
        queue: Path | None = None,
        limit: Size = 256 * 10**6,
        sync: float = 1.0,
    ) -> None:
        """Begin to post to `url`; https verifies the server, by the certificates in `ca` where given.

        EDGEAD_WEBHOOK_TOKEN is sent as a bearer token where it is set. `timeout` is in seconds, for connecting and
        for each wait; `retry` the seconds after the first failure, which double up to a minute. `queue` is the folder
        where results wait, of at most `limit` bytes; `sync` is the promise's seconds about the disk. Raises
        UsageError or DataError.
        """
        parts = urlsplit(url)
        self._host, self._port = host_and_port(parts, "https://mes.local/parts", _PORTS[parts.scheme])
        if parts.username or parts.password:
            raise UsageError(
                "a webhook's URL holds a password, which logs would show: set EDGEAD_WEBHOOK_TOKEN instead"
            )
        if timeout <= 0 or retry <= 0:
            raise UsageError("a webhook's timeout and retry must be more than 0 seconds")
        self._timeout = timeout
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context = _context(ca) if parts.scheme == "https" else None
        token = os.environ.get("EDGEAD_WEBHOOK_TOKEN", "").strip()
        self._headers = {"Content-Type": "application/json", "User-Agent": "edgead", "Connection": "close"}
        self._headers |= {"Authorization": f"Bearer {token}"} if token else {}
        self._verdicts, self._station = verdicts, station or socket.gethostname()
        self._name = f"the webhook at {self._host}"
        self._queue = DiskQueue(queue_folder(queue, url), limit, sync)
        self._courier = DeliveryWorker(self._queue, self._deliver, self._name, retry)

    def emit(self, frame: Frame, result: Result) -> None:
        if result.verdict in self._verdicts:
            self._queue.append(message(self._queue.next, self._station, result))

    def close(self) -> None:
        """Give what waits a little time to arrive; the rest stays on the disk for the next start."""
        self._courier.close(drain_s=2.0)

    def _deliver(self, records: Sequence[Record]) -> int:
        (record,) = records
        status = self._post(record.data)
        if status in _NEVER:
            _log.error("%s will never take result %d: it answered %d", self._name, record.number, status)
        elif not 200 <= status < 300:
            raise OSError(f"it answered {status} {http.client.responses.get(status, '')}".rstrip())
        return 1

    def _post(self, body: bytes) -> int:
        """The status the server answers with; raises OSError."""
        headers = {**self._headers, "Idempotency-Key": hashlib.sha256(body).hexdigest()[:32]}
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)
            if self._context
            else http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        )
        try:
            connection.request("POST", self._path, body, headers)
            return connection.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(f"it does not answer as a web server does ({type(error).__name__})") from error
        finally:
            connection.close()


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise UsageError(f"the certificates in {ca} cannot be used: {error.strerror or error}") from error
