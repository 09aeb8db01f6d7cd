"""A line for a long time: memory and open files, lost verdicts, and the age of frames, with every sink at work.

    python benchmarks/soak.py BUNDLE [--minutes 30] [--fps 15] [--out FILE]

Two synthetic cameras, each at `fps`, are judged by `edgead run` in a process of its own, on the CPU engine, with
health checks, and with every sink for months: JSON lines, kept anomalies under a quota, MQTT (a broker that this
starts: mosquitto), a webhook (a server of this program), Prometheus metrics and the live page with a viewer.
Its resident memory and open files are read every few seconds; their slopes are fitted to the second half, by least
squares, with standard errors. A verdict is lost if the line counted it and a sink does not have it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgead.system.device import describe_device

EVERY = 5.0  # seconds between two looks at the process
STOP_S = 60.0


class Receiver(BaseHTTPRequestHandler):
    """Takes what the webhook sends and counts it."""

    taken = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.taken += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def broker(stack: ExitStack, folder: Path) -> int:
    """A broker on the loopback; its port."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        raise SystemExit("this needs mosquitto: apt-get install mosquitto")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n")
    process = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    time.sleep(1)
    return port


def subscribe(stack: ExitStack, port: int) -> set[tuple[str, int]]:
    """What arrives at the broker, as (camera, index), growing."""
    arrived: set[tuple[str, int]] = set()

    def on_message(client: Client, data: object, message: Any) -> None:
        with suppress(KeyError, TypeError, ValueError):
            result = json.loads(message.payload)
            arrived.add((result["camera"], result["index"]))

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe("soak/#", qos=1)
    client.loop_start()
    stack.callback(client.loop_stop)
    stack.callback(client.disconnect)
    return arrived


def watch_page(port: int, over: threading.Event) -> None:
    """A viewer: asks for the state and a picture ten times a second."""
    while not over.wait(0.1):
        for path in ("api/state", "api/picture?camera=left"):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                answer.read()


def look(pid: int) -> tuple[float, int]:
    """Resident memory in MiB and open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return kilobytes / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def slope(hours: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Least-squares slope an hour, with its standard error; none of fewer than five values, as of a trial run."""
    if len(hours) < 5:
        return {}
    (gradient, _), covariance = np.polyfit(hours, values, 1, cov=True)
    return {"per_hour": round(float(gradient), 3), "error": round(float(np.sqrt(covariance[0, 0])), 3)}


def soak(bundle: Path, minutes: float, fps: float, folder: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        mqtt, web, metrics = broker(stack, folder), free_port(), free_port()
        arrived = subscribe(stack, mqtt)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        results = folder / "results.jsonl"
        command = [sys.executable, "-m", "edgead", "run", "--bundle", str(bundle.resolve()), "--threads", "1"]
        for name, seed in (("left", 1), ("right", 2)):
            command += ["--source", f"{name}=synthetic:640x480@{fps:g},defects=20,seed={seed}"]
        for sink in (
            f"jsonl:{results}",
            f"keep:{folder / 'kept'}?quota=50MB&format=jpg",
            f"mqtt://127.0.0.1:{mqtt}/soak/{{camera}}?queue={folder / 'mqtt-queue'}",
            f"http://127.0.0.1:{server.server_address[1]}/parts#verdicts=all&queue={folder / 'http-queue'}",
            f"metrics:{metrics}",
            f"web:{web}",
        ):
            command += ["--sink", sink]
        line = subprocess.Popen(command, cwd=folder, stderr=(folder / "log").open("wb"))
        over = threading.Event()
        stack.callback(over.set)
        threading.Thread(target=watch_page, args=(web, over), daemon=True).start()
        start, samples = time.monotonic(), []
        while time.monotonic() - start < 60 * minutes and line.poll() is None:
            time.sleep(EVERY)
            samples.append(((time.monotonic() - start) / 3600, *look(line.pid)))
        line.send_signal(signal.SIGTERM)
        code = line.wait(STOP_S)
        time.sleep(2)  # for the last messages
        written = [json.loads(text) for text in results.read_text(encoding="utf-8").splitlines()]
        log = (folder / "log").read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    hours, memory, files = (np.array(column) for column in zip(*samples[len(samples) // 2 :], strict=True))
    ages = np.array([result["age_ms"] for result in written])
    told = {(result["camera"], result["index"]) for result in written}
    return {
        "minutes": round(60 * samples[-1][0], 1),
        "asked_fps": 2 * fps,
        "judged": len(written),
        "judged_fps": round(len(written) / (3600 * samples[-1][0]), 2),
        "verdicts": {kind: sum(one["verdict"] == kind for one in written) for kind in ("OK", "NG", "INVALID", "LATE")},
        "missing_at_broker": len(told - arrived),
        "missing_at_webhook": len(written) - Receiver.taken,
        "age_ms": {f"p{share}": round(float(np.percentile(ages, share)), 1) for share in (50, 95, 99)},
        "memory_mib": {"first": round(samples[0][1], 1), "last": round(samples[-1][1], 1)} | slope(hours, memory),
        "open_files": {"first": samples[0][2], "last": samples[-1][2]} | slope(hours, files),
        "exit_code": code,
        "log": log[-3:],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--fps", type=float, default=15.0, help="of each of the two cameras")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(given.bundle, given.minutes, given.fps, Path(folder))
    result |= {"device": describe_device()}
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
