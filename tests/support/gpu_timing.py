"""What the benchmarks of engines on a GPU have in common: frames, times, and the network by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np

from edgead import Bundle
from edgead.cuda.context import CudaContext
from edgead.cuda.graph import Graph
from edgead.types import ImageU8
from edgead.verify import golden_frame

WARMUP = 5  # rounds that do not count


def frames_of(bundle: Bundle, size: tuple[int, int], count: int) -> list[ImageU8]:
    """Golden frames at a camera's size (height, width), each a little other than the rest; noise where there are
    none."""
    found = [golden_frame(bundle, name) for name in bundle.manifest.golden_frames]
    found = found or [np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)]
    resized = [np.asarray(cv2.resize(one, size[::-1]), np.uint8) for one in found]
    return [np.roll(resized[index % len(resized)], 16 * index, axis=1) for index in range(count)]


def spent_ms(work: Callable[[], object], rounds: int) -> list[float]:
    """Milliseconds of wall time of each round."""
    spent = []
    for number in range(rounds + WARMUP):
        start = time.perf_counter()
        work()
        if number >= WARMUP:
            spent.append(1e3 * (time.perf_counter() - start))
    return spent


def median_ms(work: Callable[[], object], rounds: int) -> float:
    return float(np.median(spent_ms(work, rounds)))


def network_alone(engine: Any, index: int, rounds: int) -> float:
    """Milliseconds of the network of a batch size as a CUDA graph of its own, up to its end."""
    batches = engine._batches
    with engine._lock, engine._gpu.current():
        stream = batches._stream
        batches._session.enqueue(index)
        stream.synchronize()
        graph = Graph(engine._gpu, stream, partial(batches._session.enqueue, index))

        def run() -> None:
            graph.launch(stream)
            stream.synchronize()

        return median_ms(run, rounds)


def timed(engine: Any, frames: Sequence[ImageU8], rounds: int) -> dict[str, Any]:
    """From memory to readings, and the network by itself, by the size of the batch; batches that overlap at last."""
    found: dict[str, Any] = {}
    for index, batch in enumerate(engine._batches.sizes):
        images = _several(frames, batch)
        spent = spent_ms(lambda images=images: engine.infer(images), rounds)
        whole, alone, one = float(np.median(spent)), network_alone(engine, index, rounds), engine.infer(images)[0]
        found[str(batch)] = {
            "end_to_end_ms": round(whole, 4),
            "p99_ms": round(float(np.percentile(spent, 99)), 4),
            "network_alone_ms": round(alone, 4),
            "overhead": round(whole / alone - 1, 3),
            "frames_a_second": round(1e3 * batch / whole, 1),
            "stages_ms": [round(ms, 4) for ms in (one.preprocess_ms, one.infer_ms, one.postprocess_ms)],
        }
    most = engine._batches.most
    many = _several(frames, 8 * most)
    at_once = median_ms(lambda: engine.infer(many), max(3, rounds // 20))
    found[str(most)]["overlapped_frames_a_second"] = round(1e3 * len(many) / at_once, 1)
    return found


def _several(frames: Sequence[ImageU8], count: int) -> list[ImageU8]:
    return [frames[number % len(frames)] for number in range(count)]


def torch_ms(network: Any, bundle: Bundle, batches: Sequence[int], rounds: int) -> dict[str, float]:
    """Milliseconds of a batch through a torch network by the size of the batch, its input on its device already."""
    import torch

    spec, found = bundle.manifest.input, {}
    device = next(iter(network.parameters()), torch.zeros(0)).device
    with torch.inference_mode():
        for batch in batches:
            image = torch.zeros(batch * spec.batch, 3, spec.height, spec.width, device=device)

            def run(image: Any = image) -> None:
                network(image)
                if device.type == "cuda":
                    torch.cuda.synchronize()

            found[str(batch)] = round(median_ms(run, rounds), 4)
    return found


def described(gpu: CudaContext) -> dict[str, Any]:
    """The GPU, for a result."""
    return {"name": gpu.name, "capability": gpu.capability, "driver": gpu.driver_version}
