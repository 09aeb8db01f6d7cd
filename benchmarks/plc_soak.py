"""A station and its controller for long: every trigger has one answer of its own, and what stops judging is seen.

    python benchmarks/plc_soak.py BUNDLE [--protocol modbus] [--parts 100000] [--cycle 0.1] [--out FILE]

The station is a process of its own: `edgead`'s pipeline on a synthetic camera of 100 frames a second, every seventh
with a defect, with the CPU engine, health checks and the handshake over Modbus TCP or OPC UA. The controller is
`edgead.stream.plc.simulate` in this process, with jitter and faults from a seed. Afterwards the station is made to hang
(its engine sleeps), stopped (SIGSTOP) and killed (SIGKILL), each several times in the middle of parts: how long, after
a part was due or the signal was sent, the controller has still seen Ready, a heartbeat that goes on, or Reject off. A
controller counts a station as not ready and rejecting once it has had no answer, or the same heartbeat, for
`--watchdog` seconds.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgead import Detector, Pipeline
from edgead.cli.plc import open_link
from edgead.engines.base import Engine
from edgead.engines.onnx import OnnxEngine
from edgead.stream.cameras import open_cameras
from edgead.stream.pipeline_settings import PipelineSettings
from edgead.stream.plc.controller import HandshakeSettings
from edgead.stream.plc.handshake import Inputs
from edgead.stream.plc.line import PartSettings
from edgead.stream.plc.outputs import open_plc
from edgead.stream.plc.simulate import Link, Seen, Simulation, SimulationSettings
from edgead.stream.trigger.line import TriggerSettings
from edgead.stream.trigger.matching import TriggerWindow
from edgead.system.device import describe_device
from edgead.types import ImageU8, Reading

HANG_S = 3.0
ANSWER_WITHIN_S = 0.4
ASKED = ("protocol", "parts", "cycle", "jitter", "faults", "seed", "watchdog")


class Hanging(Engine):
    """The real engine, which sleeps for a while at the next frame after SIGUSR1."""

    name = "onnx"
    precision = "fp32"

    def __init__(self, engine: OnnxEngine) -> None:
        self.precision = engine.precision
        self._engine, self._hang = engine, False
        signal.signal(signal.SIGUSR1, self._asked)

    def _asked(self, number: int, frame: object) -> None:
        self._hang = True

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        if self._hang:
            self._hang = False
            time.sleep(HANG_S)
        return self._engine.infer(images)

    def close(self) -> None:
        self._engine.close()


def station(bundle: str, protocol: str, port: int) -> None:
    """The station's process, until it is told to end."""
    from edgead.bundle import Bundle

    opened = Bundle.open(bundle)
    detector = Detector(opened, engine=Hanging(OnnxEngine(opened, "auto", 1)))
    cameras = open_cameras(["synthetic:160x120@100,defects=7"])
    trigger = TriggerSettings(TriggerWindow(length=0.2), ANSWER_WITHIN_S)
    parts = PartSettings(trigger, HandshakeSettings(ack_within=0.5, recipes=(1, 2)))
    settings = PipelineSettings(health=True, parts=parts)
    pipeline = Pipeline(cameras, detector, [], settings, plcs=[open_plc(f"{protocol}:{port}")])
    signal.signal(signal.SIGTERM, lambda *_: pipeline.stop())
    pipeline.run()


def start(bundle: str, protocol: str, port: int, link: Link) -> subprocess.Popen[bytes]:
    """A station that is ready."""
    command = [sys.executable, __file__, bundle, "--station", "--protocol", protocol, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    atexit.register(process.kill)  # also where this program fails
    ends = time.monotonic() + 60
    while True:
        try:
            if link.look().ready:
                return process
        except OSError:
            link.close()
        if time.monotonic() > ends or process.poll() is not None:
            raise SystemExit("the station did not get ready")
        time.sleep(0.05)


class Watch:
    """What a controller makes of a station: its heartbeat and answers are watched with a timer."""

    def __init__(self, link: Link, watchdog: float) -> None:
        self._link, self._watchdog = link, watchdog
        self._beats, self._beat_at = -1, time.monotonic()

    def look(self) -> tuple[bool, bool, Seen | None]:
        """Whether the station counts as ready, whether as rejecting, and what it says."""
        now = time.monotonic()
        try:
            seen = self._link.look()
        except OSError:
            self._link.close()
            return False, True, None
        if seen.beats != self._beats:
            self._beats, self._beat_at = seen.beats, now
        if now - self._beat_at > self._watchdog:
            return False, True, seen
        return seen.ready, seen.reject, seen


def hang(process: subprocess.Popen[bytes], link: Link, part: str) -> dict[str, float]:
    """The engine hangs in the middle of a part: milliseconds after the part was due."""
    os.kill(process.pid, signal.SIGUSR1)
    time.sleep(0.01)
    raised = time.monotonic()
    link.say(Inputs(trigger=True, part=part))
    due, late, fault, beats, beat_at = raised + ANSWER_WITHIN_S, 0.0, 0.0, -1, raised
    while time.monotonic() < due + 1.5:
        seen, now = link.look(), time.monotonic()
        if seen.done and not late:
            assert (seen.result, seen.part, seen.reject) == (5, part, True), seen
            late = now
        if seen.fault_code == 3 and not fault:
            fault = now
        if seen.beats != beats:
            beats, beat_at = seen.beats, now
        assert seen.reject
        assert not seen.ready
    time.sleep(HANG_S - 1.5)
    for inputs in (Inputs(trigger=True, ack=True, part=part), Inputs(reset=True), Inputs()):
        link.say(inputs)
        time.sleep(0.05)
    times = {"answered LATE": late, "fault": fault, "last heartbeat": beat_at}
    return {name: round(1e3 * (at - due), 1) for name, at in times.items()}


def silence(process: subprocess.Popen[bytes], link: Link, number: signal.Signals, watchdog: float) -> dict[str, float]:
    """A signal stops the station: milliseconds until the controller counts it as not ready and as rejecting."""
    watch = Watch(link, watchdog)
    ends = time.monotonic() + 1.0
    while time.monotonic() < ends:
        watch.look()
        time.sleep(0.01)
    link.say(Inputs(trigger=True, part="stopped"))
    process.send_signal(number)
    sent = time.monotonic()
    not_ready = rejecting = 0.0
    while not (not_ready and rejecting):
        ready, reject, _ = watch.look()
        now = time.monotonic()
        not_ready = not_ready or (0.0 if ready else now)
        rejecting = rejecting or (now if reject else 0.0)
        time.sleep(0.005)
    link.close()
    return {"not ready": round(1e3 * (not_ready - sent), 1), "rejecting": round(1e3 * (rejecting - sent), 1)}


def stops(arguments: argparse.Namespace, port: int, link: Link) -> dict[str, list[dict[str, float]]]:
    """The three ways to stop judging, several times each."""
    found: dict[str, list[dict[str, float]]] = {"hung engine": [], "SIGSTOP": [], "SIGKILL": []}
    process = start(arguments.bundle, arguments.protocol, port, link)
    for number in range(arguments.stops):
        found["hung engine"].append(hang(process, link, f"H{number}"))
    for _ in range(arguments.stops):
        for name in ("SIGSTOP", "SIGKILL"):
            found[name].append(silence(process, link, signal.Signals[name], arguments.watchdog))
            process.kill()
            process.wait()
            process = start(arguments.bundle, arguments.protocol, port, link)
    process.terminate()
    process.wait()
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--protocol", default="modbus")
    parser.add_argument("--parts", type=int, default=100_000)
    parser.add_argument("--cycle", type=float, default=0.1, help="seconds between two parts; 0: as fast as it goes")
    parser.add_argument("--jitter", type=float, default=0.3)
    parser.add_argument("--faults", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stops", type=int, default=5, help="times that each way of stopping is tried")
    parser.add_argument("--watchdog", type=float, default=0.5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--station", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.station:
        station(arguments.bundle, arguments.protocol, arguments.port)
        return
    port = free_port()
    scheme = {"modbus": "modbus", "opcua": "opc.tcp"}[arguments.protocol]
    result: dict[str, Any] = {
        "asked": {
            name: getattr(arguments, name) for name in ("protocol", "parts", "cycle", "jitter", "faults", "seed")
        },
        "machine": describe_device(),
    }
    with open_link(arguments.protocol, f"{scheme}://127.0.0.1:{port}", arguments.watchdog) as link:
        process = start(arguments.bundle, arguments.protocol, port, link)
        settings = SimulationSettings(
            arguments.parts, arguments.cycle, arguments.jitter, arguments.faults, (1, 2), arguments.seed
        )
        report = Simulation(link, settings, lambda text: print(text, flush=True)).run()
        process.terminate()
        process.wait()
        print("\n".join(report.words()), flush=True)
        result |= {"report": report.to_dict(), "stops": stops(arguments, port, link)}
    print(json.dumps(result["stops"]))
    result["load"] = f"{os.getloadavg()[0]:.1f} of {os.cpu_count()} cores by this and other work"
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if not report.sound:
        raise SystemExit("not every trigger had one answer of its own")


if __name__ == "__main__":
    main()
