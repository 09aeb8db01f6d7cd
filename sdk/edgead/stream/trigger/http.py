"""Fires by an HTTP POST to /trigger, with {"part": "A-17"} or nothing; with ?wait=SECONDS the answer comes back.

curl -X POST -H "Authorization: Bearer $EDGEAD_TOKEN" 'http://127.0.0.1:8090/trigger?wait=2' -d '{"part": "A-17"}'
"""

from __future__ import annotations

import json
import math
from concurrent.futures import TimeoutError as Unanswered
from urllib.parse import parse_qs, urlsplit

import msgspec

from edgead.errors import UsageError
from edgead.stream.trigger.base import Ticket, TriggerControl, TriggerSource
from edgead.web.address import read_address, split_names
from edgead.web.plain import PlainHandler, PlainServer

_LARGEST = 4096  # bytes of a request's body
_LONGEST_WAIT_S = 60.0


class HttpTrigger(TriggerSource):
    """Listens on loopback unless told otherwise; beyond it EDGEAD_TOKEN must be set, and is asked for."""

    def __init__(self, address: str, *, names: str = "") -> None:
        """Listen once it is started; raises UsageError. `names` are further names of this machine."""
        self._where, self._names = read_address(address, "http", "trigger"), split_names(names)
        self._server: PlainServer | None = None
        self.control: TriggerControl | None = None
        self.port = 0

    def start(self, control: TriggerControl) -> None:
        self.control = control
        self._server = PlainServer(self._where, _Handler, self, self._names, "edgead trigger http")
        self.port = self._server.port

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


class _Posted(msgspec.Struct, forbid_unknown_fields=True):
    part: str = ""


class _Handler(PlainHandler):
    def do_GET(self) -> None:
        if self.allowed():
            self.answer(405, "triggers are posted to /trigger\n", {"Allow": "POST"})

    def do_POST(self) -> None:
        if not self.allowed():
            return
        url = urlsplit(self.path)
        if url.path != "/trigger":
            self.answer(404, "triggers are posted to /trigger\n")
            return
        try:
            wait, part = _wait(url.query), self._part()
            ticket = self.server.owner.control.fire(f"http, {self.client_address[0]}", part)
        except (ValueError, msgspec.MsgspecError) as error:  # a UsageError is a ValueError
            self._say(400, {"error": str(error)})
            return
        self._answer_of(ticket, wait)

    def _part(self) -> str:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _LARGEST:
            raise ValueError(f"a trigger's body has at most {_LARGEST} bytes")
        body = self.rfile.read(int(length))
        return msgspec.json.decode(body, type=_Posted).part if body.strip() else ""

    def _answer_of(self, ticket: Ticket, wait: float) -> None:
        said = {"trigger": ticket.trigger.number, "part": ticket.trigger.part}
        if not wait:
            self._say(202, said)
            return
        try:
            result = ticket.answer.result(wait)
        except Unanswered:
            self._say(504, {**said, "error": f"not answered within {wait:g} s"})
            return
        self.answer(200, result.to_json() + "\n", {"Content-Type": "application/json"})

    def _say(self, status: int, values: dict[str, object]) -> None:
        self.answer(status, json.dumps(values) + "\n", {"Content-Type": "application/json"})


def _wait(query: str) -> float:
    text = parse_qs(query).get("wait", ["0"])[0]
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_WAIT_S:
        raise UsageError(f"wait is a number of seconds from 0 to {_LONGEST_WAIT_S:g}, not '{text[:20]}'")
    return seconds
