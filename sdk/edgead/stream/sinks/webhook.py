"""Posts results to a web server: one POST of JSON each, through a queue on the disk.

What is promised: every result that `emit` took is posted until the server answers with 2xx, in order; see
`disk_queue` for crashes, power cuts and the limit. Only what the server says it will never take (400, 413, 422) is
given up, counted as not written and kept in a file of `dead_letters`. A result may come twice; `Idempotency-Key` is
then the same.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from edgead.errors import UsageError
from edgead.result import Result
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.dead_letters import DeadLetters
from edgead.stream.sinks.delivery import DeliveryWorker, host_and_port, message, queue_folder, read_url
from edgead.stream.sinks.disk_queue import DiskQueue, Record
from edgead.stream.sinks.exchange import Exchange
from edgead.stream.sinks.options import Size, Verdicts, checked
from edgead.types import Frame, Verdict

_EXAMPLE = "https://mes.local/parts"
_PORTS = {"http": 80, "https": 443}
_NEVER = (400, 413, 422)  # the message is at fault: it would block all that come after it
_SAFE = "/?:@!$&'()*+,;=%~[]"  # what stands in a request as it was written; the rest is percent-encoded


class Webhook(Sink):
    """Posts results of the chosen verdicts. `emit` writes to the disk and never waits for the server."""

    needs_pixels = False

    def __init__(
        self,
        url: str,
        *,
        verdicts: Verdicts = frozenset({Verdict.NG, Verdict.LATE}),
        station: str = "",
        timeout: float = 10.0,
        retry: float = 1.0,
        ca: Path | None = None,
        queue: Path | None = None,
        limit: Size = 256 * 10**6,
        sync: float = 1.0,
        dead: Size = 16 * 10**6,
    ) -> None:
        """Begin to post to `url`; https verifies the server, by the certificates in `ca` where given.

        EDGEAD_WEBHOOK_TOKEN is sent as a bearer token where it is set. `timeout` is in seconds, for a whole exchange;
        `retry` the seconds after the first failure, which double up to a minute. `queue` is the folder where results
        wait, of at most `limit` bytes; `sync` is the promise's seconds about the disk; `dead` the bytes of what is
        given up that are kept there. Raises UsageError or DataError.
        """
        parts = read_url(url, _EXAMPLE)
        host, port = host_and_port(parts, _EXAMPLE, _PORTS[parts.scheme])
        if parts.username or parts.password:
            raise UsageError(
                "a webhook's URL holds a password, which logs would show: set EDGEAD_WEBHOOK_TOKEN instead"
            )
        checked("a webhook's timeout", timeout, 0.001, 3600)
        checked("a webhook's retry", retry, 0.001, 3600)
        checked("a webhook's sync", sync, 0, 3600)
        self._headers = {"Content-Type": "application/json", "User-Agent": "edgead", "Connection": "close"}
        self._headers |= _authorization()
        self._verdicts, self._station = verdicts, station or socket.gethostname()
        self._name = f"the webhook at {host}"
        path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_SAFE)
        self._exchange = Exchange(host, port, path, _context(ca) if parts.scheme == "https" else None, timeout)
        folder = queue_folder(queue, url)
        self._queue = DiskQueue(folder, limit, sync)
        letters = DeadLetters(folder, dead)
        self._worker = DeliveryWorker(
            self._queue, letters, self._deliver, self._name, retry, abort=self._exchange.abort
        )

    def lost(self) -> dict[str, int]:
        return self._worker.lost()

    def emit(self, frame: Frame, result: Result) -> None:
        if result.is_any(self._verdicts):
            self._queue.append(message(self._queue.next, self._station, result))

    def close(self) -> None:
        """Give what waits a little time to arrive; the rest stays on the disk for the next start."""
        self._worker.close(drain_s=2.0)

    def _deliver(self, records: Sequence[Record]) -> int:
        (record,) = records
        key = hashlib.sha256(record.data).hexdigest()[:32]
        status = self._exchange.post(record.data, {**self._headers, "Idempotency-Key": key})
        words = f"{status} {http.client.responses.get(status, '')}".rstrip()
        if status in _NEVER:
            self._worker.give_up(record, record.data.decode(), f"{self._name} answered {words}")
        elif not 200 <= status < 300:
            raise OSError(f"it answered {words}")
        return 1


def _authorization() -> dict[str, str]:
    """The header with the token, where one is set."""
    token = os.environ.get("EDGEAD_WEBHOOK_TOKEN", "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise UsageError("EDGEAD_WEBHOOK_TOKEN holds a space, a line break or a letter beyond ASCII: copy it again")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise UsageError(f"the certificates in {ca} cannot be used: {error.strerror or error}") from error
