"""What systemd hears, on a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgead.stream.systemd import Systemd


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        name = f"edgead-test-{os.getpid()}"
        address = str(tmp_path / "notify") if request.param == "path" else "@" + name
        receiver.bind(address if request.param == "path" else "\0" + name)
        receiver.settimeout(2)
        yield receiver, address


def test_systemd_hears_that_it_is_ready_alive_and_stopping(listening: tuple[socket.socket, str]) -> None:
    receiver, address = listening
    now = [100.0]
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    systemd = Systemd(environment, clock=lambda: now[0])
    systemd.ready("2 cameras")
    for _ in range(25):  # 3 seconds, asked eight times a second
        systemd.alive(lambda: "12 frames")
        now[0] += 0.125
    systemd.stopping()
    heard = [receiver.recv(1000).decode() for _ in range(6)]
    assert heard == ["READY=1\nSTATUS=2 cameras", *["WATCHDOG=1\nSTATUS=12 frames"] * 4, "STOPPING=1"]


@pytest.mark.parametrize(
    "environment", [{}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}], ids=str
)
def test_without_a_watchdog_nothing_is_said(listening: tuple[socket.socket, str], environment: dict[str, str]) -> None:
    receiver, address = listening
    Systemd({**environment, "NOTIFY_SOCKET": address}).alive(lambda: "")
    receiver.settimeout(0)
    with pytest.raises(BlockingIOError):
        receiver.recv(1000)
    Systemd({}).stopping()


def test_a_systemd_that_does_not_listen_holds_nobody_up(
    listening: tuple[socket.socket, str], caplog: pytest.LogCaptureFixture
) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": listening[1]})
    while not caplog.messages:  # until its queue is full
        systemd.ready("")
    assert "systemd cannot be told 'READY=1'" in caplog.text


def test_a_socket_that_is_gone_does_not_stop_the_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("")
    assert "systemd cannot be told 'READY=1'" in caplog.text
