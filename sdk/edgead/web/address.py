"""Says where a server listens: on loopback unless told otherwise, and beyond it only with a token."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from edgead.errors import UsageError

SHORTEST_TOKEN = 12  # characters


@dataclass(frozen=True, slots=True)
class Address:
    """A host and port to listen at, and the token that is asked for there; empty: none."""

    host: str
    port: int
    token: str

    @property
    def loopback(self) -> bool:
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def listen(self) -> socket.socket:
        """A listening socket; raises UsageError where the port is taken or may not be had."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listening = socket.create_server((self.host, self.port), family=family, backlog=64)
            # for all connections: without it the second packet of an answer waits 40 ms for the first
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listening
        except OSError as error:
            raise UsageError(f"cannot listen at {self.host}:{self.port}: {error.strerror or error}") from error


class ThisMachine:
    """The names of this machine in a Host header. A foreign page that rebinds its own name to it uses another."""

    def __init__(self, names: Iterable[str], loopback: bool) -> None:
        """`names` are further names of this machine; on loopback no other is known than the machine itself."""
        own = {"localhost"} if loopback else {"localhost", socket.gethostname(), f"{socket.gethostname()}.local"}
        self._names = {name.lower() for name in own | set(names)}
        self._loopback = loopback

    def names(self, host: str) -> bool:
        """Whether a Host header, with or without a port, means this machine."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return address.is_loopback or not self._loopback


def split_names(names: str) -> frozenset[str]:
    """Names with commas between them, as an option has them."""
    return frozenset(filter(None, (name.strip() for name in names.split(","))))


def read_address(text: str, kind: str, role: str = "sink") -> Address:
    """'8080' is that port on loopback, '0.0.0.0:8080' on every network of the machine. Errors name it as the place of
    a sink or trigger of that kind; with the role "option", as the value of the option `kind`.

    EDGEAD_TOKEN is asked for wherever it is set. Raises UsageError, also where it must be set and is not.
    """
    said, mark = (kind, f"{kind} ") if role == "option" else (f"the {role} '{kind}'", f"{kind}:")
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{said} needs a port up to 65535, like {mark}8080, not '{port}'")
    token = os.environ.get("EDGEAD_TOKEN", "").strip()
    try:
        address = Address(host, int(port), token)
        beyond = not address.loopback
    except ValueError as error:
        raise UsageError(f"{said} listens at an IP address, like {mark}0.0.0.0:{port}, not '{host}'") from error
    if beyond and not token:
        made = secrets.token_urlsafe(18)
        raise UsageError(
            f"{mark}{text} can be reached by others: set a token first, like export EDGEAD_TOKEN={made} "
            f"(made just now), or keep to this machine with {mark}{port}"
        )
    if token and len(token) < SHORTEST_TOKEN:
        raise UsageError(f"EDGEAD_TOKEN is too short to be safe: give it {SHORTEST_TOKEN} characters or more")
    return address
