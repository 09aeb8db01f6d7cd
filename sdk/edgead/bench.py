"""Measures how fast a bundle is here: the bare engine, a frame from end to end, batches, and several cameras.

Every engine and precision is measured in a process of its own, so that memory is its own. Times are wall times; inputs
are the bundle's golden frames, real pictures of the part.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead.bundle import Bundle
from edgead.closing import Closing
from edgead.detector import Detector
from edgead.errors import EngineError
from edgead.images import read_image
from edgead.ops import resize
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.pipeline_settings import PipelineSettings
from edgead.system.device import OtherWork, describe_state, resident_mib
from edgead.types import Frame, ImageU8
from edgead.verify import golden_frame

LEAVING_S = 10.0  # seconds a process has to end after its answer
LEAST = 10  # runs of anything, however slow
BUSY = 0.1  # share of all cores; with more of it taken by others, figures are not this machine's
CHANGED = 0.05  # of a figure, from which on it is worth a word


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """What is measured."""

    runs: int = 500  # of each part
    warmup: int = 50
    seconds: float = 20.0  # after which a part ends with fewer runs
    threads: int = 0  # CPU threads of one inference; 0: the engine's choice
    device: int = 0  # the GPU's number
    frame: tuple[int, int] | None = None  # width and height; None: as the golden frames are
    batches: tuple[int, ...] = (1, 2, 4, 8)
    cameras: tuple[int, ...] = (1, 2, 4)


def measure(
    bundle: Path, engine: str, precision: str, settings: BenchSettings, images: Sequence[Path] = ()
) -> dict[str, Any]:
    """The figures of one engine and precision, as plain values, from a process that does nothing else.

    `images` are judged instead of the golden frames. Raises what opening a Detector raises, and EngineError where the
    process did not survive it.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_answer,
        args=(theirs, measure_here, bundle, engine, precision, settings, images),
        name="edgead bench",
        daemon=True,
    )
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
        process.join(LEAVING_S)
    except EOFError as error:
        raise EngineError(f"{engine} {precision} took its process with it: try it with `edgead verify`") from error
    finally:  # an interrupt, too, waits for no figures
        process.kill()
        process.join()
        ours.close()
    if isinstance(answer, Exception):
        raise answer
    found: dict[str, Any] = answer
    return found


def _answer(pipe: Connection, work: Callable[..., dict[str, Any]], *arguments: object) -> None:
    """In the process of its own: the figures, or what was raised, into the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    try:
        answer: object = work(*arguments)
    except Exception as error:
        answer = error
    pipe.send(answer)
    pipe.close()


def measure_here(
    bundle: Path, engine: str, precision: str, settings: BenchSettings, images: Sequence[Path] = ()
) -> dict[str, Any]:
    """`measure` in this very process, whose memory is then counted as well."""
    opened = Bundle.open(bundle)
    frames = _frames(opened, images, settings.frame)
    before, _ = resident_mib()
    start = time.perf_counter()
    detector = Detector(opened, engine=engine, precision=precision, threads=settings.threads, device=settings.device)
    with detector:
        detector.read(frames[0])
        load = time.perf_counter() - start
        others, state = OtherWork(), describe_state()
        found = {
            "engine": detector.engine.name,
            "precision": detector.engine.precision,
            "threads": settings.threads,
            "frame": [frames[0].shape[1], frames[0].shape[0]],
            "load_s": round(load, 3),
            "network_ms": _network(detector, frames, settings),
            "end_to_end_ms": _end_to_end(detector, frames, settings),
            "images_a_second": {
                "batch": _batches(detector, frames, settings),
                "cameras": _cameras(detector, frames, settings),
            },
        }
        now, peak = resident_mib()
    memory = {"loaded": round(now - before, 1), "peak": peak}
    sizes = {"network_bytes": opened.manifest.members[detector.artifact.member].size}
    ended = {"others": round(others.share(), 3), "state": {"before": state, "after": describe_state()}}
    return found | {"memory_mib": memory} | sizes | ended


def summarize(times: Sequence[float]) -> dict[str, float]:
    """Percentiles, mean and least of times in milliseconds, and how many there are."""
    shares = {f"p{share}": float(np.percentile(times, share)) for share in (50, 95, 99)}
    found = shares | {"mean": float(np.mean(times)), "least": float(np.min(times))}
    return {name: round(value, 3) for name, value in found.items()} | {"runs": len(times)}


def warnings(run: dict[str, Any]) -> Iterator[str]:
    """What keeps a run's figures from being this machine's best, in words."""
    if run["others"] > BUSY:
        yield (
            f"other work took {run['others']:.0%} of this machine while {run['engine']} {run['precision']} was "
            "measured: measure again when it is idle"
        )
    governors = run["state"]["after"].get("governors", [])
    if governors and governors != ["performance"]:
        yield f"the clocks' governor is {', '.join(governors)}: set it to performance, or jetson_clocks on a Jetson"


def compare(ours: dict[str, Any], other: dict[str, Any]) -> Iterator[list[str]]:
    """Rows (what, theirs, ours, ours over theirs) for every engine and precision that both have."""
    theirs = {(run["engine"], run["precision"]): run for run in other["runs"]}
    for run in ours["runs"]:
        name = (run["engine"], run["precision"])
        if name in theirs:
            for what, path in COMPARED.items():
                old, new = _at(theirs[name], path), _at(run, path)
                if old and new:
                    mark = "" if abs(new / old - 1) < CHANGED else " *"
                    yield [f"{' '.join(name)}: {what}", f"{old:.2f}", f"{new:.2f}", f"x {new / old:.2f}{mark}"]


def differences(ours: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What besides the bundle is not the same in two results, so that their figures say less."""
    names = ("device.board", "device.processor", "device.cores", "device.versions", "settings", "bundle.digest")
    return [name for name in names if _at(ours, name) != _at(other, name)]


COMPARED = {
    "network, ms": "network_ms.p50",
    "end to end, ms": "end_to_end_ms.total.p50",
    "end to end p99, ms": "end_to_end_ms.total.p99",
    "images a second, one camera": "images_a_second.cameras.1",
    "memory, MiB": "memory_mib.loaded",
}


def describe_settings(settings: BenchSettings) -> dict[str, Any]:
    """The settings as plain values."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def _at(tree: Any, path: str) -> Any:
    for step in path.split("."):
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def _frames(bundle: Bundle, images: Sequence[Path], size: tuple[int, int] | None) -> list[ImageU8]:
    """Pictures to judge: those given, the golden frames, or, where there are none, noise."""
    spec = bundle.manifest.input
    frames = [read_image(path, bits=spec.bits) for path in images]
    if not frames:
        frames = [golden_frame(bundle, name) for name in bundle.manifest.golden_frames]
    if not frames:
        frames = [np.random.default_rng(0).integers(0, 256, (*spec.frame, 3), dtype=np.uint8)]
    return frames if size is None else [np.asarray(cv2.resize(one, size), np.uint8) for one in frames]


def _repeat(call: Callable[[ImageU8], float], frames: Sequence[ImageU8], settings: BenchSettings) -> list[float]:
    """What `call` returns for frame after frame, once warm."""
    found: list[float] = []
    ends = time.perf_counter() + settings.seconds
    for number, frame in enumerate(itertools.cycle(frames)):
        value = call(frame)
        if number >= min(settings.warmup, settings.runs):
            found.append(value)
        if len(found) >= settings.runs or (len(found) >= LEAST and time.perf_counter() > ends):
            return found
    return found


def _network(detector: Detector, frames: Sequence[ImageU8], settings: BenchSettings) -> dict[str, float]:
    """The network alone, its input ready: what the engine itself says of frames that need no resizing."""
    spec = detector.bundle.manifest.input
    ready = [resize(frame, *spec.frame) for frame in frames]
    return summarize(_repeat(lambda frame: detector.read(frame).infer_ms, ready, settings))


def _end_to_end(detector: Detector, frames: Sequence[ImageU8], settings: BenchSettings) -> dict[str, dict[str, float]]:
    """From a decoded frame in memory to its result, and the stages in it."""
    stages: list[tuple[float, float, float]] = []

    def call(frame: ImageU8) -> float:
        start = time.perf_counter()
        timings = detector.detect(Frame(frame)).timings
        total = 1e3 * (time.perf_counter() - start)
        stages.append((timings.preprocess, timings.infer, timings.postprocess))
        return total

    total = _repeat(call, frames, settings)
    columns = zip(("preprocess", "network", "postprocess"), zip(*stages[-len(total) :], strict=True), strict=True)
    return {"total": summarize(total)} | {name: summarize(times) for name, times in columns}


def _batches(detector: Detector, frames: Sequence[ImageU8], settings: BenchSettings) -> dict[str, float]:
    """Images a second by the number of images judged at once."""
    found = {}
    for size in settings.batches:
        batch = [Frame(frame) for frame in itertools.islice(itertools.cycle(frames), size)]
        runs = max(LEAST, settings.runs // size)
        detector.detect_many(batch)
        start, done = time.perf_counter(), 0
        while done < runs and (done < LEAST or time.perf_counter() - start < settings.seconds):
            detector.detect_many(batch)
            done += 1
        found[str(size)] = round(done * size / (time.perf_counter() - start), 2)
    return found


def _cameras(detector: Detector, frames: Sequence[ImageU8], settings: BenchSettings) -> dict[str, float]:
    """Images a second that a line judges, all its cameras together, by their number; none of them waits for light."""
    found = {}
    for count in settings.cameras:
        each = max(LEAST, settings.runs // count)
        cameras = [Camera(f"camera {number}", Replay(frames, each, settings.seconds)) for number in range(count)]
        start = time.perf_counter()
        status = Pipeline(cameras, detector, [], PipelineSettings(health=False)).run()  # golden frames may be resized
        found[str(count)] = round(status.frames / (time.perf_counter() - start), 2)
    return found


class Replay(Closing):
    """A source of frames in memory, as fast as they are taken: so many, or as many as a time allows."""

    live = False
    fps = 0.0
    timeout = 0.0
    unreadable = 0

    def __init__(self, frames: Sequence[ImageU8], count: int, seconds: float) -> None:
        self._frames, self._count, self._seconds = frames, count, seconds
        self._open = True

    def __iter__(self) -> Iterator[Frame]:
        ends = time.monotonic() + self._seconds
        for index, image in enumerate(itertools.islice(itertools.cycle(self._frames), self._count)):
            if not self._open or (index >= LEAST and time.monotonic() > ends):
                return
            yield Frame(image, index, "replay", clock=time.monotonic())

    def close(self) -> None:
        """End before the next frame."""
        self._open = False
