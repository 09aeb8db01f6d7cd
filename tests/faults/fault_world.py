"""What stands around the line: cameras, a web server, a broker, a small disk, a terminal. All of it can fail."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fault_parts
import tiny
from broker import MemoryBroker
from programs import free_port, until

CAMERAS = ("left", "middle", "right")
_FPS = 4.0
_PATIENCE_S = 30.0  # that a sink rests at most after a failure, before it tries again
_HERE = Path(__file__).parent


class Camera:
    """Motion JPEG over HTTP; every seventh part or so is bad. `mode` says how it fails."""

    def __init__(self, seed: int) -> None:
        self.mode = ""  # drip, freeze, drop, cut; or none
        self.sent = 0
        self._seed = seed
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            client.settimeout(30)
            client.recv(4096)
            if self.mode == "drop":
                return
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=part\r\n\r\n")
            while self.mode != "drop":
                self._send(client)
                time.sleep(1 / _FPS)

    def _send(self, client: socket.socket) -> None:
        self.sent += 1
        data = fault_parts.jpeg(self.sent, (self.sent * 2654435761 + self._seed) % 7 == 0)
        whole = b"--part\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(data), data)
        while self.mode == "freeze":
            time.sleep(0.05)
        if self.mode == "cut":
            client.sendall(whole[: len(whole) // 2])
            raise OSError("cut")
        at = 0
        while at < len(whole):
            step = 20 if self.mode == "drip" else len(whole)
            client.sendall(whole[at : at + step])
            at += step
            if self.mode == "drip":
                time.sleep(0.05)

    def close(self) -> None:
        self.mode = "drop"
        self._listening.close()


class Receiver:
    """A web server for the webhook. `mode` says how it fails: a status, `drip` or `hang`."""

    def __init__(self) -> None:
        self.taken: list[dict[str, object]] = []
        self.mode: int | str = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                mode = receiver.mode
                with suppress(OSError):
                    if mode == "hang":
                        time.sleep(3)
                    elif mode == "drip":
                        for _ in range(100):
                            self.wfile.write(b"H")
                            time.sleep(0.05)
                    else:
                        if mode == 204:
                            receiver.taken.append(json.loads(body))
                        self.send_response(int(mode))
                        self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Disk:
    """A small disk of its own that can be filled; where none can be mounted, a folder that cannot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(folder)]
        self.limited = (
            shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0
        )

    def fill(self) -> None:
        handle = os.open(self.folder / "ballast", os.O_WRONLY | os.O_CREAT)
        with suppress(OSError):
            while True:
                os.write(handle, bytes(1 << 20))
        with suppress(OSError):
            while True:
                os.write(handle, bytes(4096))
        os.close(handle)

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        self.free()
        if self.limited:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


class World:
    """The line as a process, and everything around it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.cameras = [Camera(seed + number) for number in range(len(CAMERAS))]
        self.receiver, self.broker = Receiver(), MemoryBroker()
        self.disk = Disk(folder / "disk")
        self.bundle = folder / "line.edgead"
        tiny.write_tiny(folder / "one.edgead", name="one")
        tiny.write_tiny(folder / "two.edgead", name="two")
        shutil.copy(folder / "one.edgead", self.bundle)
        self.clock = folder / "clock"
        self.clock.write_text("0")
        self.page, self.metrics = free_port(), free_port()
        self.lost: list[tuple[float, float]] = []  # spans before a kill: what a sink had yet to write may be lost
        self.filled: list[float] = []  # when the disk was full
        self.damaged = 0  # places of queues that were damaged
        self.starts: list[float] = []
        self.kills = 0
        self.log = bytearray()
        self._hung_up = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the line, with a terminal to write to."""
        terminal, other = pty.openpty()
        command = [sys.executable, str(_HERE / "fault_line.py"), str(self.clock), "run", "--bundle", str(self.bundle)]
        for name, camera in zip(CAMERAS, self.cameras, strict=True):
            command += ["--source", f"{name}=http://127.0.0.1:{camera.port}/"]
        for sink in self._sinks():
            command += ["--sink", sink]
        command += ["--video", str(self.disk.folder / "seen.mkv"), "--timeout", "1.5", "--policy", "every"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_STATE_HOME": str(self.disk.folder / "state")}
        folders = [str(_HERE), str(_HERE.parent / "support"), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
        self.process = subprocess.Popen(
            [*command, "--engine", "onnx", "--threads", "1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=other,
            env=environment,
            start_new_session=True,
        )
        os.close(other)
        self.starts.append(time.monotonic())
        self._hung_up = threading.Event()
        threading.Thread(target=self._read, args=(terminal, self._hung_up), daemon=True).start()

    def _sinks(self) -> list[str]:
        disk = self.disk.folder
        return [
            f"ledger:{self.folder / 'ledger.jsonl'}",
            f"jsonl:{disk / 'results.jsonl'}",
            f"images:{disk / 'images'}",
            f"keep:{disk / 'kept'}?quota=60MB&free=1MB&days=30",
            f"http://127.0.0.1:{self.receiver.port}/#verdicts=all&retry=0.2&timeout=1&queue={disk / 'webhook'}",
            f"mqtt://127.0.0.1:{self.broker.port}/line/{{camera}}?queue={disk / 'mqtt'}",
            f"web:{self.page}",
            f"metrics:{self.metrics}",
        ]

    def _read(self, terminal: int, hung_up: threading.Event) -> None:
        with suppress(OSError):
            while not hung_up.is_set():
                if select.select([terminal], [], [], 0.05)[0]:
                    self.log += os.read(terminal, 4096)
        os.close(terminal)

    def hang_up(self) -> None:
        """Take the terminal away."""
        self._hung_up.set()

    def published(self) -> list[dict[str, object]]:
        """The results that the broker has."""
        return [json.loads(payload) for topic, payload in list(self.broker.taken) if not topic.endswith("/status")]

    def judged(self) -> int:
        """Results in the ledger."""
        ledger = self.folder / "ledger.jsonl"
        return ledger.read_bytes().count(b"\n") if ledger.exists() else 0

    def wait_for_results(self, seconds: float = 60.0) -> None:
        before = self.judged()
        until(lambda: self.judged() > before or self.process.poll() is not None, seconds)
        assert self.process.poll() is None, f"the line has ended: {self.log[-3000:].decode(errors='replace')}"

    @property
    def fills(self) -> int:
        return len(self.filled)

    def kill(self) -> None:
        """End the line as a power cut would, but for the disk."""
        now = time.monotonic()
        waiting = [at for at in self.filled if now - at < _PATIENCE_S]  # a result waits for free space, and longer
        self.lost.append((min([now, *waiting]) - 2.0, now + 0.1))
        self.kills += 1
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code, and the seconds it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        return code, time.monotonic() - begin

    def use(self) -> dict[str, float]:
        """What the process holds: threads, descriptors, and memory in MB."""
        process = Path(f"/proc/{self.process.pid}")
        memory = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
        return {
            "threads": len(list((process / "task").iterdir())),
            "descriptors": len(list((process / "fd").iterdir())),
            "memory_mb": int(memory.split()[1]) / 1024,
        }

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hang_up()
        for part in (*self.cameras, self.receiver):
            part.close()
        self.broker.stop()
        self.disk.close()
