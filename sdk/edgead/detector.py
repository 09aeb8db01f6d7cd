"""Judges images with a bundle: images in, results out."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgead import ops
from edgead.arrays import AnyImage, DeviceImage, read_array
from edgead.bundle import Bundle
from edgead.engines.base import Engine
from edgead.errors import DataError, UsageError
from edgead.images import EXTENSIONS, read_image
from edgead.reader import Reader
from edgead.result import Result
from edgead.types import Frame, ImageU8, MapF32, Reading, Timings, Verdict

Picture = Any  # (H, W), (H, W, 3) or (H, W, 4) uint8 or uint16, of any library; a path; a picture of PIL's


class _Opened(NamedTuple):
    """An image that was given: its frame, its pixels wherever they lie, and what gives them on the host."""

    frame: Frame
    pixels: AnyImage
    origin: Callable[[], ImageU8]


class Detector(Reader):
    """Judges images with one bundle.

    >>> with Detector("bottle.edgead") as detector:
    ...     result = detector(image)          # (H, W, 3) BGR uint8, as cv2.imread gives it
    ...     if result.is_anomalous:
    ...         print(result.score, result.regions)

    Several threads may share a detector: one at a time gets to its engine.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        *,
        engine: str | Engine = "auto",
        precision: str = "auto",
        threads: int = 0,
        device: int = 0,
        rules: ops.Rules = ops.Rules(),  # noqa: B008 - frozen
    ) -> None:
        """Open `bundle` and load an engine for it.

        `engine` is a name (`auto`, `tensorrt`, `openvino`, `onnx`) or an engine of your own; `precision` is `auto`,
        `fp32`, `fp16` or `int8`; `threads` limits the CPU threads of one inference (0: the engine's choice); `device`
        is the number of the GPU, where one judges; `rules` say which scores are refused, and may be exchanged at any
        time. Raises BundleError, EngineError or UsageError.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        super().__init__(self.bundle, engine, precision, threads, device)
        self.artifact = self.bundle.manifest.artifact(self.engine.precision, self.engine.fitted_for)
        self.rules = rules
        self._asked = (engine, precision, threads, device)

    @property
    def model(self) -> str:
        """The first 12 hex digits of the bundle's digest."""
        return self.bundle.digest[:12]

    def __call__(self, image: Picture, *, color: str = "bgr") -> Result:
        """Judge one image: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, a file's path, or a picture of PIL's, whose
        color order is its own; raises DataError for anything else. The result keeps the image (`Result.image`).

        The array may be of another library that speaks DLPack (torch's too) or CUDA's array interface; the engine
        tensorrt reads uint8 on its own GPU. `color` is `bgr`, `rgb`, or of planes (3 H / 2, W) as decoders give them
        `nv12` (BT.601, limited range), `nv12-full`, `nv12-709` or `nv12-709-full`.
        """
        return self._classify([image], color, 0)[0]

    def predict(self, images: Iterable[Picture], *, color: str = "bgr") -> list[Result]:
        """Judge arrays, image files or pictures of PIL's, in order; raises DataError for one that is not usable."""
        if isinstance(images, (str, os.PathLike)) or (getattr(images, "ndim", 4) < 4):
            raise DataError("predict takes several images: give a list, or call detector(image) for one array")
        items, results = iter(images), list[Result]()
        while chunk := list(itertools.islice(items, self.engine.together)):
            results += self._classify(chunk, color, len(results))
        return results

    def _classify(self, items: Sequence[Picture], color: str, first: int) -> list[Result]:
        """The results of images in any of the forms that are taken, numbered from `first`; each keeps its image."""
        opened = [self._open(item, color, index) for index, item in enumerate(items, start=first)]
        readings = self.read_many([one.pixels for one in opened])
        return [
            replace(self._result(one.frame, reading), origin=one.origin)
            for one, reading in zip(opened, readings, strict=True)
        ]

    def _open(self, item: Picture, color: str, index: int) -> _Opened:
        bits = self.bundle.manifest.input.bits
        if isinstance(item, (str, os.PathLike)):
            again = partial(read_image, item, bits=bits)
            image = again()
            return _Opened(Frame(image, index, os.fspath(item)), image, again)
        if callable(getattr(item, "convert", None)):  # PIL's, which need not be installed
            deep = str(getattr(item, "mode", "")).startswith(("I", "F"))  # more than 8 bits, which converting clips
            item, color = np.asarray(item if deep else item.convert("RGB")), "rgb"
        elif not isinstance(item, np.ndarray):
            known = read_array(item, color)
            if isinstance(known, DeviceImage):
                blank = np.broadcast_to(np.uint8(0), known.shape)  # whose size alone counts
                return _Opened(Frame(blank, index), known, partial(self._fetch, known))
            item = item if known is None else known
        image = ops.as_image(item, color=color, bits=bits)
        return _Opened(Frame(image, index), image, lambda: image)

    def _fetch(self, image: DeviceImage) -> ImageU8:
        """The pixels of an image that lies on the GPU."""
        with self._engine_lock:
            return self.engine.fetch(image)

    def stream(self, source: str | int | os.PathLike[str], *, policy: str = "latest") -> Iterator[Result]:
        """Judge frame after frame of a source: a folder, a glob, a file, a video, a camera number, a URL.

        Files are judged one after the other. Of a live source the newest frame is taken (`policy="latest"`).
        Each result keeps its frame (`Result.image`), to draw on or to save. Raises SourceError when the source cannot
        be opened or is lost.
        """
        from edgead.stream.cameras import grab_frames

        with grab_frames(str(source), policy=policy, bits=self.bundle.manifest.input.bits) as frames:
            for frame in frames:
                yield replace(self.detect(frame), origin=self._again(frame))

    def _again(self, frame: Frame) -> Callable[[], ImageU8]:
        """What gives the image of a frame again: from its file, where it is one's only image."""
        path, image = Path(frame.name), frame.image
        if path.suffix.lower() in EXTENSIONS and path.is_file():
            return partial(read_image, path, bits=self.bundle.manifest.input.bits)
        return lambda: image

    def detect(self, frame: Frame) -> Result:
        """Judge one frame whose image is already (H, W, 3) BGR uint8."""
        return self._result(frame, self.read(frame.image))

    def detect_many(
        self,
        frames: Sequence[Frame],
        masks: Sequence[MapF32 | None] = (),
        areas: Sequence[Sequence[ops.AreaRules]] = (),
    ) -> list[Result]:
        """Judge frames together, in order; their sizes may differ. An engine that takes batches does it in one go.

        `masks`, where given, has for each frame the share of each cell of the map that is judged, (h, w) float32
        in 0..1, or None for all of it; `areas` those of its areas that have rules of their own.
        """
        readings = self.read_many([frame.image for frame in frames])
        masks, areas = masks or [None] * len(frames), areas or [()] * len(frames)
        return [self._result(*one) for one in zip(frames, readings, masks, areas, strict=True)]

    def invalid(self, frame: Frame, *reasons: str) -> Result:
        """The result of a frame that cannot be judged: no score, an empty map, and the reasons."""
        fusion, center = self.bundle.manifest.fusion, self.artifact.thresholds.pixel_center
        nothing = Reading(np.full((fusion.height, fusion.width), center, np.float32), math.nan)
        return replace(self._result(frame, nothing), verdict=Verdict.INVALID, reasons=reasons, regions=())

    def _result(
        self, frame: Frame, reading: Reading, mask: MapF32 | None = None, areas: Sequence[ops.AreaRules] = ()
    ) -> Result:
        start = time.perf_counter()
        thresholds, fusion = self.artifact.thresholds, self.bundle.manifest.fusion
        rules = self.rules  # read once: another thread may exchange them
        reading = ops.weigh_areas(reading, fusion, areas, thresholds, rules.threshold)
        if mask is not None:
            reading = ops.mask_reading(reading, fusion, mask)
        grid_map = (reading.anomaly_map - thresholds.pixel_center) / (thresholds.pixel - thresholds.pixel_center)
        size = frame.image.shape[:2]
        min_area = ops.smallest_areas(areas, rules.min_area, (fusion.height, fusion.width))
        specks = ops.find_specks(grid_map, size, min_area) if np.any(min_area) else None
        if specks is not None:
            reading = ops.remove_specks(reading, fusion, specks, mask)
        score = ops.calibrate(reading.score, thresholds.image_center, thresholds.image)
        threshold = thresholds.image_center + rules.threshold * (thresholds.image - thresholds.image_center)
        branches = reading.branches
        verdict = ops.classify(score, rules)
        unusual = () if branches is None or verdict is Verdict.OK else branches.unusual
        regions = () if verdict is Verdict.OK else ops.find_regions(grid_map, size, min_area=min_area)
        if verdict is Verdict.NG and not (regions or unusual):  # NG always shows where
            judged = grid_map if specks is None else np.where(specks, grid_map.min(), grid_map)
            regions = ops.strongest_region(judged, size)
        post = reading.postprocess_ms + 1e3 * (time.perf_counter() - start)
        return Result(
            verdict=verdict,
            score=score,
            raw_score=reading.score,
            threshold=threshold,
            regions=regions,
            grid_map=grid_map,
            frame_size=size,
            timings=Timings(reading.preprocess_ms, reading.infer_ms, post),
            engine=reading.judged_by or self.engine.name,
            precision=self.engine.precision,
            model=self.model,
            bits=self.bundle.manifest.input.bits,
            index=frame.index,
            name=frame.name,
            time=frame.time,
            camera=frame.camera,
            reasons=tuple(str(one) for one in unusual),
            branches=branches,
            rules=rules,
        )

    def reopen(self, bundle: str | os.PathLike[str]) -> Detector:
        """A detector for another bundle, with the same engine settings, rules and trusted keys.

        Raises what opening a Detector raises, and UsageError where this one was given an engine of its caller's.
        """
        engine, precision, threads, device = self._asked
        if not isinstance(engine, str):
            raise UsageError("a detector with an engine of your own cannot change its bundle: make a new Detector")
        opened = Bundle.open(bundle, trust=self.bundle.trust)
        return Detector(opened, engine=engine, precision=precision, threads=threads, device=device, rules=self.rules)
