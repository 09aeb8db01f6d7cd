"""Runs the line: frames from cameras, through one detector, into the sinks, for as long as the cameras last.

Each camera has a thread that keeps it open (`capture`), each sink one that writes (`sink_worker`); the caller's thread
judges. Between them are queues that cannot grow, and a count of everything that they leave out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from edgead.closing import Closing
from edgead.config import StationConfig, load_station
from edgead.config.loader import validated
from edgead.detector import Detector
from edgead.errors import UsageError
from edgead.result import Result
from edgead.stream.aggregation import Aggregator
from edgead.stream.areas import Masks, StationAreas
from edgead.stream.assembly import open_resources
from edgead.stream.audit import AuditLog
from edgead.stream.bundles import StationBundles
from edgead.stream.capture import WAIT_S, Camera, FrameGrabber
from edgead.stream.health import HealthCheck
from edgead.stream.inference import InferenceWorker
from edgead.stream.pipeline_settings import DEFAULTS, PipelineSettings, settings_of
from edgead.stream.pipeline_status import counted
from edgead.stream.plc.controller import PlcOutput
from edgead.stream.plc.line import TriggeredLine
from edgead.stream.plc.monitor import TURN_S
from edgead.stream.recipes import OpenRecipe, RecipeInference
from edgead.stream.sink_worker import TICK, SinkWorker
from edgead.stream.sinks import title_of
from edgead.stream.sinks.base import Sink
from edgead.stream.sources import Source
from edgead.stream.status import Meter, PipelineStatus
from edgead.stream.trigger.base import Ticket, TriggerSource
from edgead.types import Frame, Verdict


class Pipeline(Closing):
    """Cameras, a detector and sinks at work. `run` it in one thread; every other method may be called from any.

    >>> with Pipeline.from_config("station.yaml") as line:
    ...     status = line.run()
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        detector: Detector,
        sinks: Sequence[Sink],
        settings: PipelineSettings = DEFAULTS,
        *,
        on_result: Callable[[Result], None] = lambda result: None,
        on_alive: Callable[[], None] = lambda: None,
        audit: AuditLog | None = None,
        triggers: Sequence[TriggerSource] = (),
        plcs: Sequence[PlcOutput] = (),
        recipes: Mapping[int, OpenRecipe] = MappingProxyType({}),
    ) -> None:
        """Make a line that is yet to run; each sink is attached to it before the first frame.

        `on_result` is called with each result, in the thread that judges, or in one that answers triggers; `on_alive`
        in the first several times a second, as long as frames are judged or every camera is known to have none. What
        `on_result` raises ends the line, and `run` raises it.
        `audit` is told of every change of what the line does. `triggers` and `plcs` are the line's own to close; they,
        and `fire`, need `settings.parts`. With `recipes` each part is judged by that of its number.
        """
        self._settings = settings
        self._on_result = on_result
        self._on_alive = on_alive
        self._sinks, self._cameras = sinks, cameras
        self._meters = [Meter() for _ in cameras]
        titles = [one.label if one.name in ("", one.label) else f"camera {one.name}" for one in cameras]
        self._worker = InferenceWorker(detector, self._checks(), [camera.roi_mask for camera in cameras], audit, titles)
        self._recipes = RecipeInference(recipes, self._checks, audit, titles) if recipes else None
        rule = settings.aggregation
        self._aggregators = [Aggregator(rule) for _ in cameras] if rule.frames != 1 else []
        self._parts = self._triggered_line(triggers, plcs) if settings.parts is not None else None
        queue = None if self._parts is None else self._parts.queue
        tick = WAIT_S if queue is None else TURN_S
        self._grabber = FrameGrabber(cameras, settings.camera_backoff, queue, tick, settings.batch_window)
        if self._recipes is not None:
            self._recipes.attach(self._parts, self._grabber.configure)
        self._delivering = threading.Lock()  # answers to triggers come from several threads
        self._sink_workers: list[SinkWorker] = []
        self._delivered = 0  # results
        self._raised: Exception | None = None  # by `on_result`, in whichever thread
        self._stopping = False
        self._finished = False  # as it should: not stopped, nothing raised
        self._give_up_at = 0.0
        self._started = time.monotonic()
        self._owned = ExitStack()  # what `from_config` opened, as are the next two
        self.bundles: StationBundles | None = None
        self.areas: StationAreas | None = None

    @classmethod
    def from_config(
        cls,
        config: StationConfig | str | os.PathLike[str],
        *,
        file: Path | None = None,
        on_result: Callable[[Result], None] = lambda result: None,
        on_alive: Callable[[], None] = lambda: None,
    ) -> Pipeline:
        """The line that a configuration describes, with all that it names open; `run` and `close` close it.

        A path is that of a YAML file, over which EDGEAD_* variables count; `file` is the one a configuration was read
        from, to which areas drawn on the live page go. Raises UsageError for settings that cannot be used, BundleError,
        EngineError, SourceError, and DataError for a place that cannot be written; nothing stays open then.
        """
        if not isinstance(config, StationConfig):
            file, config = Path(config), load_station(Path(config)).config
        settings = validated(config)
        with ExitStack() as stack:
            opened = open_resources(settings, stack, file)
            pipeline = cls(
                opened.cameras, opened.detector, opened.sinks, settings_of(settings), on_result=on_result,
                on_alive=on_alive, audit=opened.audit, triggers=opened.triggers, plcs=opened.plcs,
                recipes=opened.recipes,
            )  # fmt: skip
            pipeline.bundles, pipeline.areas = opened.bundles, opened.areas
            opened.bundles.replace, opened.areas.apply = pipeline.replace_bundle, pipeline.set_roi_masks
            pipeline._owned = stack.pop_all()
        return pipeline

    def run(self) -> PipelineStatus:
        """Judge until every camera is at its end, the limit is reached, or `stop` is called.

        Sources and sinks are closed on every way out, interrupts among them; a detector that was given stays the
        caller's. Raises what ended a camera for good (SourceError), once the others are at their end too, and what a
        sink raises that ends the line.
        """
        self._started = time.monotonic()
        with ExitStack() as stack:
            stack.callback(self.close)
            stack.callback(self._worker.close)
            if self._recipes is not None:
                stack.callback(self._recipes.close)
            if self._parts is not None:
                stack.callback(self._parts.close)
            stack.callback(self._end)
            self._open_sinks()
            if self._parts is not None:
                self._parts.start()
            self._grabber.start()
            ended = self._judge_all()
            for number, aggregator in enumerate(self._aggregators):
                for frame, result in aggregator.close():
                    self._deliver(number, frame, self._settings.in_time(result))
            self._finished = not self._stopping
        self._raise([capture.error for capture in self._grabber.captures if ended and self._finished])
        return self.status()

    def _raise(self, endings: Sequence[BaseException | None] = ()) -> None:
        """Raise what ends the line, if anything: of the caller's function, of a sink, or of `endings`."""
        for trouble in (self._raised, *(worker.fatal for worker in self._sink_workers), *endings):
            if trouble is not None:
                raise trouble

    def close(self) -> None:
        """Close what `from_config` opened, where `run` has not done it; calling it again does nothing."""
        self._owned.close()

    def stop(self) -> None:
        """Let the line end after the frame at hand. It only sets a flag, so a signal's handler may call it."""
        self._stopping = True

    def set_threshold(self, factor: float, who: str = "") -> None:
        """From the next frame on a part is NG above this calibrated score; 1.0 is the bundle's own threshold.

        It holds for this run only; `who` asked for it, as the audit log has it. Raises UsageError for a factor that is
        no positive number.
        """
        self._inference.set_threshold(factor, who)

    def fire(self, source: str, part: str = "", clock: float | None = None) -> Ticket:
        """A part is before the cameras now; its verdict comes with the ticket, as with every other trigger.

        Raises UsageError for a part's id that cannot be one, and where the line has no triggers.
        """
        if self._parts is None:
            raise UsageError("this line judges without triggers: give it one with --trigger, like http:8090")
        return self._parts.fire(source, part, clock)

    def set_roi_masks(self, masks: Masks, recipes: Mapping[int, Masks] = MappingProxyType({})) -> None:
        """From the next frame on judge what these say of each camera's, and for parts of a recipe what its own say."""
        self._worker.set_roi_masks(masks)
        if self._recipes:
            self._recipes.set_roi_masks(recipes)

    def replace_bundle(self, path: str | os.PathLike[str], who: str = "") -> None:
        """Go on with another bundle without missing a frame; see `InferenceWorker.replace_bundle`."""
        self._inference.replace_bundle(path, who)

    def _triggered_line(self, sources: Sequence[TriggerSource], plcs: Sequence[PlcOutput]) -> TriggeredLine:
        assert self._settings.parts is not None  # the caller looked
        if not all(camera.live for camera in self._cameras):
            raise UsageError("triggers are for live sources: files have no time at which their part was there")
        return TriggeredLine(
            sources,
            plcs,
            [camera.name for camera in self._cameras],
            self._settings.parts,
            lambda frame, words: self._inference.detector.invalid(frame, words),
            lambda number, frame, result: self._deliver(number, frame, self._settings.in_time(result)),
            lambda: self._grabber.lost,
            lambda: any(self._inference.drift.drifts()),
            (lambda old, new, who: None) if self._recipes is None else self._recipes.switched,
        )

    @property
    def _inference(self) -> InferenceWorker:
        """What judges new parts."""
        return self._worker if self._recipes is None else self._recipes.worker

    def _checks(self) -> list[HealthCheck]:
        return [HealthCheck(self._settings.frozen) for _ in self._cameras] if self._settings.health else []

    def _open_sinks(self) -> None:
        names: dict[str, int] = {}
        for kind, sink in zip(map(title_of, self._sinks), self._sinks, strict=True):
            names[kind] = names.get(kind, 0) + 1
            name = kind if names[kind] == 1 else f"{kind}-{names[kind]}"
            live = all(camera.live for camera in self._cameras)
            self._sink_workers.append(SinkWorker(sink, name, self._settings.sink_backoff if live else None))
        for sink in self._sinks:
            sink.attach(self)

    def _judge_all(self) -> bool:
        """Judge, and say whether it was the cameras that ended it."""
        left = self._settings.limit
        while not self._stopping and (left is None or left > 0):
            most = self._settings.batch or self._inference.detector.batch
            taken = self._grabber.take(most if left is None else min(left, most))
            if not taken and self._grabber.over:
                return True
            if self._parts is not None:
                self._parts.judging([frame for _, frame in taken])
            for (number, frame), result in zip(taken, (self._recipes or self._worker).predict(taken), strict=True):
                self._count(number, frame, result)
            self._raise()
            left = None if left is None else left - len(taken)
            if taken or self._grabber.waiting:
                self._on_alive()
        return False

    def _count(self, number: int, frame: Frame, result: Result) -> None:
        """Take a judged frame, and hand on the parts that it completes."""
        age = 1e3 * (time.monotonic() - frame.clock) if frame.clock else 0.0
        self._meters[number].frame(age, result.timings.total, judged=result.verdict is not Verdict.INVALID)
        result = replace(result, age=age, age_by=frame.clocked_by)
        if self._parts is not None:
            self._parts.judged(number, frame, result)
            return
        parts = self._aggregators[number].add(frame, result) if self._aggregators else [(frame, result)]
        for shown, one in parts:
            self._deliver(number, shown, self._settings.in_time(one))

    def _deliver(self, number: int, frame: Frame, result: Result) -> Result:
        """Hand a result on, and give it with its number."""
        camera = self._cameras[number]
        with self._delivering:
            self._delivered += 1
            result = replace(result, number=self._delivered)
            self._meters[number].result(result)
            for worker in self._sink_workers:
                worker.emit(frame, result, None if camera.live else self._may_wait)
            try:
                self._on_result(result)
            except Exception as error:
                self._raised = self._raised or error
        return result

    def _may_wait(self) -> bool:
        """Whether to wait for a sink whose queue is full; once stopped, as long as sinks are given to finish."""
        if not self._stopping:
            return True
        self._give_up_at = self._give_up_at or time.monotonic() + self._settings.drain
        return time.monotonic() < self._give_up_at

    def _end(self) -> None:
        """Let cameras and sinks finish at the same time, in the time that the settings give them together.

        What came from files is written however long it takes, unless the line is stopped.
        """
        if self._parts is not None:
            self._parts.end()
        in_step = self._finished and not all(camera.live for camera in self._cameras)
        ends = time.monotonic() + self._settings.drain
        for worker in self._sink_workers:
            worker.finish()
        self._grabber.close(self._settings.drain)
        if in_step:
            while not self._stopping and not all(worker.is_done(TICK) for worker in self._sink_workers):
                pass
            ends = time.monotonic() + self._settings.drain
        for worker in self._sink_workers:
            worker.close(max(0.0, ends - time.monotonic()))
        if not all(worker.is_done() for worker in self._sink_workers):
            self._owned.pop_all()  # closing what hangs a second time would hang, too

    def status(self) -> PipelineStatus:
        """How the line is doing now; cheap enough to be asked several times a second."""
        names = [camera.name for camera in self._cameras]
        worker, parts = self._inference, self._parts
        detector = worker.detector
        counts = counted(
            {name: capture.status() for name, capture in zip(names, self._grabber.captures, strict=True)},
            {name: meter.read() for name, meter in zip(names, self._meters, strict=True)},
            worker.drift.drifts(),
            time.monotonic() - self._started,
        )
        return replace(
            counts,
            unwritten={sink.name: sink.unwritten for sink in self._sink_workers},
            lost={sink.name: sink.lost() for sink in self._sink_workers},
            engine=detector.engine.name,
            precision=detector.engine.precision,
            model=detector.bundle.manifest.name,
            digest=detector.model,
            threshold=detector.rules.threshold,
            fault=worker.fault,
            triggers=None if parts is None else parts.counts(),
            trigger_troubles=[] if parts is None else parts.silent_sources(),
            handshake=None if parts is None else parts.handshake(),
            shadow=next((told for sink in self._sinks if (told := sink.shadow()) is not None), None),
        )


def run(
    source: Source,
    detector: Detector,
    sinks: Sequence[Sink],
    limit: int | None = None,
    on_result: Callable[[Result], None] = lambda result: None,
) -> PipelineStatus:
    """Judge the frames of one open source until it ends or `limit` frames are judged; see `Pipeline.run`.

    A live source that is lost is not opened again: SourceError. The camera's health is not looked at.
    """
    settings = PipelineSettings(limit=limit, health=False)
    return Pipeline([Camera("", source)], detector, sinks, settings, on_result=on_result).run()
