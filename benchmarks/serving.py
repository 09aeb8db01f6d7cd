"""Measures judging over the Open Inference Protocol beside a plain local engine: frames a second and latency.

    python benchmarks/serving.py BUNDLE [--frames 300] [--out FILE.json]

`edgead serve` runs in a process of its own, on one thread of inference, and so does the local engine. Frames of
1920x1080 are judged one after the other by one client, then by several beside one another. Loopback: a network adds its
own time. A server that takes connections and never answers shows what a dead one costs.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgead import Bundle, Detector
from edgead.files import write_file
from edgead.system.device import describe_device, describe_state

CLIENTS = (1, 2, 4)
DEADLINE_MS = 100


@contextmanager
def served(bundle: Path, port: int) -> Iterator[None]:
    """`edgead serve` at that port."""
    command = [sys.executable, "-m", "edgead", "serve", bundle, "--address", port, "--engine", "onnx", "--threads", 1]
    process = subprocess.Popen([*map(str, command)])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def times(detector: Detector, frames: Sequence[np.ndarray], count: int) -> list[float]:
    """Milliseconds of each of `count` frames."""
    spent = []
    for index in range(count):
        start = time.perf_counter()
        detector(frames[index % len(frames)])
        spent.append(1e3 * (time.perf_counter() - start))
    return spent


def measure(bundle: Bundle, engine: str, frames: Sequence[np.ndarray], count: int, clients: int) -> dict[str, object]:
    """Throughput and latency of that many clients, each with a detector of its own."""
    detectors = [Detector(bundle, engine=engine, precision="fp32", threads=1) for _ in range(clients)]
    for detector in detectors:
        times(detector, frames, 5)
    found: list[list[float]] = [[] for _ in detectors]

    def work(index: int) -> None:
        found[index] = times(detectors[index], frames, count // clients)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - start
    for detector in detectors:
        detector.close()
    every = np.concatenate(found)
    p50, p99 = np.percentile(every, [50, 99])
    return {"engine": engine.partition(":")[0], "clients": clients, "fps": round(len(every) / spent, 1),
            "p50_ms": round(p50, 2), "p99_ms": round(p99, 2)}  # fmt: skip


def same(bundle: Bundle, engine: str, frames: Sequence[np.ndarray]) -> bool:
    """Whether scores and maps over the wire are those of the local engine, bit for bit."""
    with Detector(bundle, engine=engine, precision="fp32") as far, Detector(bundle, engine="onnx", threads=1) as near:
        pairs = [(far(frame), near(frame)) for frame in frames]
    return all(
        one.engine == "kserve/onnx" and one.raw_score == other.raw_score
        and one.grid_map.tobytes() == other.grid_map.tobytes() for one, other in pairs
    )  # fmt: skip


def dead(bundle: Bundle, frames: Sequence[np.ndarray], count: int) -> dict[str, object]:
    """What frames cost whose server never answers: the first, and those after it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        engine = f"kserve:127.0.0.1:{listening.getsockname()[1]}?deadline={DEADLINE_MS}"
        with Detector(bundle, engine=engine, precision="fp32", threads=1) as detector:
            detector.engine._local.infer([frames[0]])  # type: ignore[attr-defined]
            spent = times(detector, frames, count)
    p50, p99 = np.percentile(spent[1:], [50, 99])
    return {
        "deadline_ms": DEADLINE_MS,
        "first_ms": round(spent[0], 1),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    bundle, port = Bundle.open(asked.bundle), free_port()
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (1080, 1920, 3)).astype(np.uint8) for _ in range(4)]
    rows = [measure(bundle, "onnx", frames, asked.frames, count) for count in CLIENTS]
    with served(asked.bundle, port):
        engine = f"kserve:127.0.0.1:{port}?deadline=5000"
        equal = same(bundle, engine, frames)
        rows += [measure(bundle, engine, frames, asked.frames, count) for count in CLIENTS]
    spec = bundle.manifest.input
    found = {
        "device": describe_device(),
        "state": describe_state(),
        "bundle": bundle.manifest.method,
        "input": f"{spec.width}x{spec.height}",
        "bytes_a_frame": spec.width * spec.height * 3,
        "equal_bit_for_bit": equal,
        "rows": rows,
        "dead_server": dead(bundle, frames, 50),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out is not None:
        write_file(asked.out, text.encode() + b"\n")


if __name__ == "__main__":
    main()
