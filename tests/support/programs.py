"""Real programs that tests start on loopback ports and stop again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

PACKAGES = {  # program -> what brings it on Debian
    "chromium": "chromium",
    "compute-sanitizer": "cuda-sanitizer-13-0, from NVIDIA's repository",
    "ffmpeg": "ffmpeg",
    "g++": "g++",
    "gst-launch-1.0": "gstreamer1.0-tools gstreamer1.0-plugins-base",
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "openssl": "openssl",
}


def need(program: str) -> str:
    """The program's path; without it the test is `lacking` it."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        lacking(f"{program} is missing: apt-get install {PACKAGES[program]}")
    return str(found)


def lacking(words: str) -> NoReturn:
    """End a test that lacks something: it fails where CI is set, and is skipped, by the same words, elsewhere."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(words)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(fact: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until `fact` is true; fails the test when it does not become so."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)


@contextmanager
def running(*command: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended at the latest when the block is left."""
    words = [str(word) for word in command]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


class Broker:
    """mosquitto on a loopback port; it can be stopped and started again and forgets everything meanwhile."""

    def __init__(self, folder: Path, *, user: tuple[str, str] | None = None, tls: bool = False) -> None:
        self._program = need("mosquitto")
        self.port, self._process = free_port(), None
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {'false' if user else 'true'}"]
        lines += ["user root"] if os.geteuid() == 0 else []
        if user:
            passwords = folder / "passwords"
            command = [need("mosquitto_passwd"), "-b", "-c", str(passwords), *user]
            subprocess.run(command, check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        if tls:
            self.cert, key = certificate(folder)
            lines += [f"certfile {self.cert}", f"keyfile {key}"]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")
        self.start()

    def start(self) -> None:
        command = [self._program, "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: answers(self.port))

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(5)
            self._process = None

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
