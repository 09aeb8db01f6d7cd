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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgead import Bundle
from edgead.cuda.context import CudaContext
from edgead.engines import load_engine
from edgead.errors import EdgeadError
from edgead.system.device import describe_device
from edgead.tensorrt.library import open_library

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
from gpu_timing import described, frames_of, median_ms, timed, torch_ms


def on_the_gpu(bundle: Bundle, precision: str, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    engine: Any = load_engine(bundle, "tensorrt", precision)
    try:
        frames = frames_of(bundle, size, engine.batch)
        return {"precision": engine.precision, "batches": timed(engine, frames, rounds)}
    finally:
        engine.close()


def on_the_cpu(bundle: Bundle, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """The best engine of the CPU, one frame at a time."""
    name = "openvino" if find_spec("openvino") else "onnx"
    engine, frames = load_engine(bundle, name), frames_of(bundle, size, 1)
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

    network = load_program(program, bundle).module().cuda()
    return {"torch": torch.__version__, "network_alone_ms": torch_ms(network, bundle, batches, rounds)}


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
        "gpu": described(gpu),
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
