"""Judges frames with a detector that may be exchanged between two frames, and never stops for one frame."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgead.bundle import HealthProfile
from edgead.detector import Detector
from edgead.errors import EdgeadError, UsageError
from edgead.ops import AreaRules
from edgead.result import Result
from edgead.stream.audit import AuditLog
from edgead.stream.drift import CameraDrift
from edgead.stream.health import HealthCheck, ImageStats
from edgead.stream.roi import RoiMask
from edgead.types import Frame, MapF32

LOADER_S = 2.0  # what a line that ends waits for a bundle that is being loaded

Health = tuple[list[str], list[str], ImageStats | None]

_log = logging.getLogger(__name__)


class InferenceWorker:
    """Results for frames, from one thread. `replace_bundle` and `set_threshold` may be called from any."""

    def __init__(
        self,
        detector: Detector,
        checks: Sequence[HealthCheck] = (),
        roi_masks: Sequence[RoiMask | None] = (),
        audit: AuditLog | None = None,
        titles: Sequence[str] = (),
    ) -> None:
        """Judge with `detector`, which stays the caller's; one that replaces it is the judge's own.

        `checks` has one for each camera, or none where their health is not looked at; so has `roi_masks`, which say
        what of their frames is judged. `audit` is told of every change; `titles` are what the cameras are called in
        the log, by what their frames are where it has none.
        """
        self._audit = audit or AuditLog()
        self._asked_by = ""  # who asked for the bundle that comes next
        self.detector = detector
        self._checks = checks
        self.drift = CameraDrift(titles or [""] * max(1, len(checks), len(roi_masks)))
        self._roi_masks = roi_masks
        self.fault = ""  # why the last change of the bundle failed
        self._given = detector
        self._failing = False
        self._lock = threading.Lock()
        self._next: Detector | None = None
        self._wanted: tuple[str | os.PathLike[str], str] | None = None  # a bundle that is yet to be loaded, and by whom
        self._loader: threading.Thread | None = None  # while there is something to load
        self._closed = False

    def predict(self, taken: Sequence[tuple[int, Frame]]) -> list[Result]:
        """One result for each (camera's number, frame), in order.

        A frame whose camera is in trouble, or that makes the network fail, is INVALID; those beside it are not.
        """
        self._exchange()
        profile = self.detector.bundle.manifest.health
        checked = [self._health(number, frame, profile) for number, frame in taken]
        sound = [one for one, (issues, *_) in zip(taken, checked, strict=True) if not issues]
        results = iter(self._detect(sound) if sound else [])
        return [
            self.detector.invalid(frame, *issues) if issues else self._watched(number, next(results), causes, stats)
            for (number, frame), (issues, causes, stats) in zip(taken, checked, strict=True)
        ]

    def _watched(self, number: int, result: Result, causes: Sequence[str], stats: ImageStats | None) -> Result:
        """The result with what beside its part may be the cause, and with the drift of its camera's parts."""
        return self.drift.update(number, self.detector, _explained(result, causes), stats)

    def _health(self, number: int, frame: Frame, profile: HealthProfile | None) -> Health:
        """Why a frame cannot be judged, nothing where it can; what beside its part may make it NG; what it shows."""
        if not self._checks:
            return [], [], None
        check = self._checks[number]
        try:
            return check.check(frame, profile), check.causes(profile), check.stats
        except Exception as error:  # a frame of a kind that the check cannot take
            return [f"the camera's health could not be checked: {type(error).__name__}: {error}"], [], None

    def _detect(self, taken: Sequence[tuple[int, Frame]]) -> list[Result]:
        roi_masks = self._roi_masks  # read once: another thread may exchange them
        try:
            areas = [self._areas(roi_masks[number], frame) for number, frame in taken] if roi_masks else ()
            masks, rules = zip(*areas, strict=True) if areas else ((), ())
            results = self.detector.detect_many([frame for _, frame in taken], masks, rules)
        except Exception as error:
            if len(taken) > 1:
                return [result for one in taken for result in self._detect([one])]
            return [self._unjudged(taken[0][1], error)]
        if self._failing:
            _log.warning("frames are judged again")
            self._failing = False
        return [
            _with_origin(result, frame, roi_masks[number] if roi_masks else None)
            for (number, frame), result in zip(taken, results, strict=True)
        ]

    def set_roi_masks(self, roi_masks: Sequence[RoiMask | None]) -> None:
        """From the next frames on judge what these say of each camera's."""
        self._roi_masks = roi_masks

    def _areas(self, roi_mask: RoiMask | None, frame: Frame) -> tuple[MapF32 | None, Sequence[AreaRules]]:
        """What of the frame's map counts, None where all of it does, and the areas with rules of their own."""
        if roi_mask is None:
            return None, ()
        fusion = self.detector.bundle.manifest.fusion
        place = frame.image.shape[:2], (fusion.height, fusion.width)
        return roi_mask.cells(*place), roi_mask.rules(*place)

    def _unjudged(self, frame: Frame, error: Exception) -> Result:
        words = f"it could not be judged: {type(error).__name__}: {error}"
        if not self._failing:
            _log.error("frame %d of %s: %s; it is INVALID and the line goes on", frame.index, frame.name, words)
            self._failing = True
        return self.detector.invalid(frame, words)

    def set_threshold(self, factor: float, who: str = "") -> None:
        """From the next frame on a part is NG above this calibrated score; 1.0 is the bundle's own threshold.

        It holds for this run only; `who` asked for it. Raises UsageError for a factor that is no positive number.
        """
        with self._lock:
            old = self.detector.rules.threshold
            self.detector.rules = replace(self.detector.rules, threshold=factor)
        self._audit.changed("threshold", old, factor, who, persisted=False)

    def replace_bundle(self, path: str | os.PathLike[str], who: str = "") -> None:
        """Load another bundle in the background, for the same kind of engine, and judge with it once it is there.

        Until then, and when it cannot be loaded (which is logged and kept in `fault`), the old one goes on. What is
        asked for while another is being loaded comes after it; of several requests the newest is met.
        """
        with self._lock:
            self._wanted = path, who
            if self._loader is None and not self._closed:
                self._loader = threading.Thread(target=self._load_wanted, name="edgead loader", daemon=True)
                self._loader.start()

    def _load_wanted(self) -> None:
        """Load what is wanted until nothing is."""
        while True:
            with self._lock:
                wanted, self._wanted = self._wanted, None
                if wanted is None or self._closed:
                    self._loader = None
                    return
            self._load(*wanted)

    def _load(self, path: str | os.PathLike[str], who: str) -> None:
        try:
            loaded = self._reopened(path)
        except Exception as error:  # an EdgeadError as a rule; also a memory that is full, or a fault in a library
            words = str(error) if isinstance(error, EdgeadError) else f"{type(error).__name__}: {error}"
            with self._lock:
                self.fault = words
            _log.error("the bundle is not changed: %s", words)
            return
        with self._lock:
            unused, self._next = (loaded, None) if self._closed else (self._next, loaded)
            self.fault, self._asked_by = "", who
        if unused is not None:
            _close(unused)

    def _reopened(self, path: str | os.PathLike[str]) -> Detector:
        """The detector for another bundle; raises what opening one raises."""
        old = self.detector
        loaded = old.reopen(path)
        bits = [one.bundle.manifest.input.bits for one in (old, loaded)]
        if bits[0] != bits[1]:  # sources scale 16-bit frames as they were told when they were opened
            _close(loaded)
            raise UsageError(f"{path} is for pictures of {bits[1]} bits and the cameras give {bits[0]}: start again")
        return loaded

    def _exchange(self) -> None:
        if self._next is None:  # looked at without the lock: a frame later is soon enough
            return
        with self._lock:
            old, self.detector, self._next = self.detector, self._next, None
            self.detector.rules = old.rules
        if old is not self._given:
            _close(old)
        _log.warning("parts are judged with %s (%s)", self.detector.bundle.manifest.name, self.detector.model)
        self._audit.changed("bundle", old.model, self.detector.model, self._asked_by, persisted=True)

    def close(self) -> None:
        """Release every detector but the one that was given; one that is still being loaded is when it is there."""
        with self._lock:
            self._closed = True
            loader = self._loader
        if loader is not None:
            loader.join(LOADER_S)
        with self._lock:
            unused, self._next = self._next, None
        for detector in (self.detector, unused):
            if detector is not None and detector is not self._given:
                _close(detector)


def _close(detector: Detector) -> None:
    """Close a detector that nobody needs; its trouble is not the line's."""
    try:
        detector.close()
    except Exception as error:
        _log.error("an engine could not be closed: %s: %s", type(error).__name__, error)


def _explained(result: Result, causes: Sequence[str]) -> Result:
    """An NG result with what beside its part may be the cause."""
    return replace(result, reasons=(*result.reasons, *causes)) if causes and result.is_anomalous else result


def _with_origin(result: Result, frame: Frame, roi_mask: RoiMask | None) -> Result:
    """The result with the areas of its camera, and what that was set to, where there are some."""
    told: dict[str, Any] = {} if roi_mask is None else {"areas": roi_mask.areas}
    if frame.settings:
        told["camera_settings"] = dict(frame.settings)
    return replace(result, extra={**result.extra, **told}) if told else result
