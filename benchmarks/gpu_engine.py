"""The TensorRT engine: a frame from memory to its reading, against the network alone, the CPU, and torch.

    python benchmarks/gpu_engine.py BUNDLE [--precision fp16] [--program FILE.pt2] [--out FILE]

Milliseconds are medians of wall time, each up to the end of what was asked for; `overhead` is what upload, resizing,
fusion and download add to the network's own time, and `stages_ms` is a frame's share of staging, of the GPU's work and
of the host's after it. torch runs the exported program eagerly on the same GPU. Without a GPU or TensorRT it says so
and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead import Bundle
from edgead.cuda.buffers import Buffer
from edgead.cuda.context import CudaContext
from edgead.cuda.graph import GraphCache
from edgead.engines import load_engine
from edgead.errors import EdgeadError
from edgead.system.device import describe_device
from edgead.tensorrt.executor import Session
from edgead.tensorrt.library import open_library
from edgead.tensorrt.prepare import prepare_here
from edgead.types import ImageU8
from edgead.verify import golden_frame

WARMUP = 5  # rounds that do not count


def median_ms(work: Callable[[], object], rounds: int) -> float:
    spent = []
    for number in range(rounds + WARMUP):
        start = time.perf_counter()
        work()
        if number >= WARMUP:
            spent.append(1e3 * (time.perf_counter() - start))
    return float(np.median(spent))


def pictures(bundle: Bundle, size: tuple[int, int], count: int) -> list[ImageU8]:
    """Golden frames at a camera's size (height, width), or noise where there are none."""
    found = [golden_frame(bundle, name) for name in bundle.manifest.golden_frames]
    found = found or [np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)]
    resized = [np.asarray(cv2.resize(one, size[::-1]), np.uint8) for one in found]
    return [resized[index % len(resized)] for index in range(count)]


def network_alone(bundle: Bundle, precision: str, rounds: int) -> dict[int, float]:
    """Milliseconds of a batch through the TensorRT engine, its input on the GPU already; by the size of the batch."""
    gpu, found = CudaContext(), {}
    try:
        library, spec = open_library(), bundle.manifest.input
        prepared = prepare_here(library, bundle, bundle.manifest.artifact(precision, "tensorrt"), gpu)
        with gpu.current():
            stream = gpu.stream()
            image = Buffer(gpu, max(prepared.metadata.batches) * 3 * spec.height * spec.width * 4)
            stream.zero(image.address, image.size // 4)
            session = Session(gpu, library, prepared, stream, image.address)
            graphs = GraphCache(gpu, stream, "the network")
            for index, batch in enumerate(session.batches):

                def run(index: int = index) -> None:
                    graphs.run(index, partial(session.enqueue, index))
                    stream.synchronize()

                found[batch] = median_ms(run, rounds)
    finally:
        gpu.close()
    return found


def on_the_gpu(bundle: Bundle, precision: str, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    engine: Any = load_engine(bundle, "tensorrt", precision)
    try:
        alone, figures = network_alone(bundle, engine.precision, rounds), {}
        for batch, least in sorted(alone.items()):
            frames = pictures(bundle, size, batch)
            spent = median_ms(lambda frames=frames: engine.infer(frames), rounds)
            one = engine.infer(frames)[0]
            figures[str(batch)] = {
                "end_to_end_ms": round(spent, 3),
                "network_alone_ms": round(least, 3),
                "overhead": round(spent / least - 1, 3),
                "images_a_second": round(1e3 * batch / spent, 1),
                "stages_ms": [round(ms, 3) for ms in (one.preprocess_ms, one.infer_ms, one.postprocess_ms)],
            }
        return {"precision": engine.precision, "batches": figures}
    finally:
        engine.close()


def on_the_cpu(bundle: Bundle, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """The best engine of the CPU, one frame at a time."""
    name = "openvino" if find_spec("openvino") else "onnx"
    engine, frames = load_engine(bundle, name), pictures(bundle, size, 1)
    try:
        spent = median_ms(lambda: engine.infer(frames), max(5, rounds // 10))
        return {"engine": name, "precision": engine.precision, "end_to_end_ms": round(spent, 3)}
    finally:
        engine.close()


def in_torch(bundle: Bundle, program: Path | None, batches: list[int], rounds: int) -> dict[str, Any] | str:
    """Milliseconds of a batch through the exported program, eagerly on this GPU; or why there are none."""
    if program is None:
        return "not measured: give the exported program as --program FILE.pt2"
    try:
        import torch
    except ImportError as error:
        return f"not measured: {error}"
    if not torch.cuda.is_available():
        return f"not measured: torch {torch.__version__} has no CUDA here"
    from edgead_tools.export.program import load_program  # opens none but the one that was written with the bundle

    spec, found = bundle.manifest.input, {}
    network = load_program(program, bundle).module().cuda()
    with torch.inference_mode():
        for batch in batches:
            image = torch.zeros(batch, 3, spec.height, spec.width, device="cuda")

            def run(image: Any = image) -> None:
                network(image)
                torch.cuda.synchronize()

            found[str(batch)] = round(median_ms(run, rounds), 3)
    return {"torch": torch.__version__, "network_alone_ms": found}


def measure(
    bundle: Bundle,
    precision: str = "auto",
    *,
    size: tuple[int, int] = (1080, 1920),
    rounds: int = 200,
    program: Path | None = None,
) -> dict[str, Any]:
    gpu, library = CudaContext(), open_library()
    gpu.close()
    found = on_the_gpu(bundle, precision, size, rounds)
    return {
        "bundle": {"name": bundle.manifest.name, "method": bundle.manifest.method, "digest": bundle.digest},
        "frame": list(size),
        "tensorrt": {"library": library.title} | found,
        "cpu": on_the_cpu(bundle, size, rounds),
        "torch": in_torch(bundle, program, [int(batch) for batch in found["batches"]], rounds),
        "gpu": {"name": gpu.name, "capability": gpu.capability, "driver": gpu.driver_version},
        "device": describe_device(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--program", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    try:
        figures = measure(Bundle.open(given.bundle), given.precision, rounds=given.rounds, program=given.program)
    except EdgeadError as error:
        sys.exit(f"nothing was measured: {error}")
    text = json.dumps(figures, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
