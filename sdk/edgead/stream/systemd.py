"""Notifies systemd how the line is: ready, alive, stopping (sd_notify(3), one datagram on a unix socket each).

With `WatchdogSec=` in the unit systemd starts the line anew when it says nothing for that long. The line only
says it is alive while frames are judged or every camera is known to have none, so a thread that hangs is noticed.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

_log = logging.getLogger(__name__)


class Systemd:
    """The socket that systemd listens on; without one every call does nothing."""

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._interval = _interval(environment)
        self._clock = clock
        self._next = 0.0

    def ready(self, status: str) -> None:
        """The cameras are open and the line judges; `status` is what `systemctl status` shows."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: Callable[[], str]) -> None:
        """The line works. Call it as often as you like: systemd is told three times per watchdog interval."""
        now = self._clock()
        if self._interval and now >= self._next:
            self._next = now + self._interval / 3
            self._send(f"WATCHDOG=1\nSTATUS={status()}")

    def stopping(self) -> None:
        """The line was told to end and is closing."""
        self._send("STOPPING=1")

    def _send(self, words: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.sendto(words.encode(), socket.MSG_DONTWAIT, address)  # a systemd that is busy holds nobody up
        except OSError as error:
            _log.warning("systemd cannot be told '%s': %s", words.partition("\n")[0], error)


def _interval(environment: Mapping[str, str]) -> float:
    """Seconds within which systemd wants to hear of this process; 0 where it does not."""
    wanted, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not wanted.isdecimal() or (process and process != str(os.getpid())):
        return 0.0
    return int(wanted) / 1e6
