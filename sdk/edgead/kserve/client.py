"""Defines what a client of an inference server is, and reads the address of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from edgead.closing import Closing
from edgead.errors import EdgeadError, UsageError, nearest
from edgead.kserve.tensors import Array

PORTS = {"http": 8000, "https": 443, "grpc": 8001, "grpcs": 443}
EXAMPLE = "kserve:10.0.0.5:8000, kserve:grpc://10.0.0.5:8001"
_OPTIONS = ("deadline", "model")


class ServerError(EdgeadError):
    """A server does not answer in time, or with an error; nothing that a user of edgead meets."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how long it may take."""

    scheme: str  # of PORTS
    host: str
    port: int
    model: str = ""  # empty: the bundle's name
    deadline_s: float = 0.25  # for a frame, all in all

    @property
    def netloc(self) -> str:
        """Host and port, as a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Client(Closing):
    """One connection to a server, for one thread at a time."""

    @abstractmethod
    def infer(
        self, model: str, inputs: Mapping[str, Array], outputs: Sequence[str], deadline_s: float
    ) -> dict[str, Array]:
        """The outputs of a model; raises ServerError when they are not there within the deadline."""

    @abstractmethod
    def is_ready(self, model: str, deadline_s: float) -> bool:
        """Whether the server answers that the model can be asked; never raises."""


def read_address(place: str) -> Address:
    """`HOST[:PORT]` or a URL, with `?deadline=MS&model=NAME`; raises UsageError."""
    text = place if "://" in place else f"http://{place}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"'{place}' is no address of a server ({error}): write {EXAMPLE}") from error
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/"):
        raise UsageError(f"'{place}' is no address of a server: write {EXAMPLE}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            raise UsageError(f"the engine 'kserve' has no option '{name}': {nearest(name, _OPTIONS)}")
    deadline = options.get("deadline", "250")
    if not deadline.isdecimal() or not 1 <= int(deadline) <= 60_000:
        raise UsageError(f"the engine 'kserve': deadline is a number of milliseconds in 1..60000, not '{deadline}'")
    return Address(
        parts.scheme, parts.hostname, port or PORTS[parts.scheme], options.get("model", ""), int(deadline) / 1000
    )
