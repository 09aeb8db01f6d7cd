"""edgead's engine on a real GPU without TensorRT: torch runs the network, everything around it is edgead's own.

    python benchmarks/torch_engine.py [BUNDLE] [--out FILE] [--frame 1920x1080]

The bundle's network runs in FP32 and FP16 as a torch module behind the interface of TensorRT that edgead uses
(`tests/support/torch_library.py`). First what must hold: golden frames; a batch as it is, recorded, and replayed gives
the same; so do frames in a camera's memory, which the GPU copies from by itself, and torch's that lie on the GPU;
three threads get each frame's own reading; memory does not grow. Then milliseconds: a frame from memory to
its reading (median and 99th percentile), the network alone as a CUDA graph, and frames a second where batches overlap.
With --baselines torch's eager mode and `torch.compile` on the same network and GPU, their input there already. Without
a bundle a small one of the tests is taken, of which the times say nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch

from edgead import Bundle
from edgead.arrays import AnyImage, DeviceImage, read_array
from edgead.errors import EdgeadError
from edgead.frame_pool import FramePool
from edgead.ops import to_input
from edgead.system.device import describe_device
from edgead.types import ImageU8, Reading
from edgead.verify import SLACK, golden_frame
from edgead_calibration.fp16 import fp32_nodes, to_fp16

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
import onnx_in_torch
import tiny
import torch_library
from gpu_timing import described, frames_of, timed, torch_ms

BATCHES = (1, 4, 8, 32)
THREADS = 3
HALVES_TOLERANCE = 0.1  # of the way from a typical good cell to the threshold
GROWTH = 16 << 20  # bytes of the GPU's memory that may be less at the end: the libraries keep some


def halves_of(bundle: Bundle) -> Bundle:
    """The bundle with an FP16 network, whose nodes that need it stay FP32."""
    exact = bundle.manifest.artifact("fp32", "tensorrt")
    network, spec = bundle.read(exact.member), bundle.manifest.input
    inputs = [to_input(golden_frame(bundle, name), spec)[None] for name in bundle.manifest.golden_frames]
    limits = exact.thresholds
    tolerance = HALVES_TOLERANCE * (limits.pixel - limits.pixel_center)
    return torch_library.with_halves(bundle, to_fp16(network, fp32_nodes(network, inputs)), tolerance)


def differ(one: Sequence[Reading], other: Sequence[Reading]) -> float:
    """The largest difference of maps and scores."""
    maps = max(float(np.abs(a.anomaly_map - b.anomaly_map).max()) for a, b in zip(one, other, strict=True))
    return max(maps, max(abs(a.score - b.score) for a, b in zip(one, other, strict=True)))


def checked(engine: Any, frames: Sequence[ImageU8], batches: Sequence[int], least: float, many: int) -> dict[str, Any]:
    """What must hold; raises AssertionError naming what does not."""
    expected = [engine.infer([frame])[0] for frame in frames]
    found: dict[str, float] = {}
    for batch in batches:
        images = [frames[index % len(frames)] for index in range(batch)]
        right = [expected[index % len(frames)] for index in range(batch)]
        for way in ("plain", "recorded", "replayed"):
            found[f"{way} {batch}"] = differ(engine.infer(images), right)
            assert found[f"{way} {batch}"] <= least, f"a batch of {batch}, {way}, differs by {found[f'{way} {batch}']}"
    overlapped = [frames[index % len(frames)] for index in range(2 * max(batches) + 1)]
    apart = differ(engine.infer(overlapped), [expected[index % len(frames)] for index in range(len(overlapped))])
    assert apart <= least, f"batches that overlap differ by {apart}"
    pool = FramePool()
    lent = differ(engine.infer([copied(frame, pool.empty(frame.shape)) for frame in frames]), expected)
    assert lent <= least, f"frames in memory of a camera's differ by {lent}"
    there = differ(engine.infer_any([on_gpu(frame) for frame in frames]), expected)
    assert there <= least, f"frames that lie on the GPU differ by {there}"
    failed: list[str] = []
    free = free_memory(engine)

    def judge(number: int) -> None:
        for index in range(number, many, THREADS):
            (reading,) = engine.infer([frames[index % len(frames)]])
            if differ([reading], [expected[index % len(frames)]]) > least:
                failed.append(f"frame {index}")

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    grown = free - free_memory(engine)
    assert not failed, f"{len(failed)} of {many} frames of {THREADS} threads differ: {failed[:3]}"
    assert grown <= GROWTH, f"memory grew by {grown >> 20} MiB over {many} frames"
    return {
        "largest_difference": max([*found.values(), apart, lent, there]),
        "threads": THREADS,
        "frames": many,
        "grown_bytes": grown,
    }


def copied(frame: ImageU8, target: ImageU8) -> ImageU8:
    target[...] = frame
    return target


def on_gpu(frame: ImageU8) -> AnyImage:
    """A frame as torch holds it on the GPU; where torch has none, the frame."""
    if not torch.cuda.is_available():
        return frame
    found = read_array(torch.from_numpy(frame).cuda(), "bgr")
    assert isinstance(found, DeviceImage)
    return found


def free_memory(engine: Any) -> int:
    with engine._gpu.current():
        return int(engine._gpu.free_memory())


def baselines(bundle: Bundle, batches: Sequence[int], rounds: int) -> dict[str, Any]:
    """Milliseconds of the network alone in torch, eager and compiled, its input on the GPU already."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = onnx_in_torch.OnnxModule(bundle.read(bundle.manifest.artifact("fp32", "tensorrt").member)).eval()
    module = module.to(device)
    found: dict[str, Any] = {"torch": torch.__version__, "device": device}
    for name, network in (("eager", module), ("compiled", torch.compile(module))):
        found[f"{name}_ms"] = torch_ms(network, bundle, batches, rounds)
    return found


def measure(
    bundle: Bundle,
    *,
    frame: tuple[int, int] = (1080, 1920),
    batches: Sequence[int] = BATCHES,
    rounds: int = 200,
    many: int = 1000,
) -> dict[str, Any]:
    cv2.setNumThreads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # FP32 is FP32, as with TensorRT
    limits = bundle.manifest.artifact("fp32", "tensorrt").thresholds
    width = limits.pixel - limits.pixel_center
    found: dict[str, Any] = {"bundle": {"name": bundle.manifest.name, "method": bundle.manifest.method}}
    both = halves_of(bundle)
    for precision, least in (("fp32", SLACK * width), ("fp16", HALVES_TOLERANCE * width)):
        with torch_library.engine(both, batches, precision) as engine:
            frames = frames_of(bundle, frame, 6)
            held = checked(engine, frames, batches, least, many)
            found[precision] = {"checks": held, "batches": timed(engine, frames, rounds)}
            found["gpu"] = described(engine._gpu)
    return found | {"frame": list(frame), "torch": torch.__version__, "device": describe_device()}


def opened(path: Path | None) -> Bundle:
    if path is not None:
        return Bundle.open(path)
    with TemporaryDirectory() as folder:
        return tiny.write_tiny(Path(folder, "tiny.edgead"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--frame", default="1920x1080", metavar="WIDTHxHEIGHT")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--frames", type=int, default=1000, help="that three threads judge")
    parser.add_argument("--baselines", action="store_true", help="measure torch by itself, and nothing else")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sizes = [int(size) for size in given.batches.split(",")]
    try:
        if given.baselines:
            figures = baselines(opened(given.bundle), sizes, given.rounds)
        else:
            width, height = map(int, given.frame.split("x"))
            figures = measure(
                opened(given.bundle), frame=(height, width), batches=sizes, rounds=given.rounds, many=given.frames
            )
    except EdgeadError as error:
        sys.exit(f"nothing was measured: {error}")
    text = json.dumps(figures, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
