"""From a station's configuration to the parts of its line: bundle, cameras, areas, detector and sinks, all open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from edgead import ops
from edgead.bundle import Bundle
from edgead.bundle.store import Trust
from edgead.closing import Closing
from edgead.config import Resolved, StationConfig
from edgead.config.loader import BUNDLE
from edgead.detector import Detector
from edgead.errors import UsageError
from edgead.files import state_folder
from edgead.registry import Lazy
from edgead.stream.areas import StationAreas, identified
from edgead.stream.audit import AuditLog
from edgead.stream.bundles import StationBundles
from edgead.stream.cameras import close_cameras, named, open_cameras
from edgead.stream.capture import Camera
from edgead.stream.plc.controller import PlcOutput
from edgead.stream.plc.outputs import open_plc
from edgead.stream.promotion import Versions
from edgead.stream.recipes import OpenRecipe, open_recipes
from edgead.stream.roi import NamedRoi, in_pixels, read_named_areas, read_roi_masks
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.jsonl import JsonLines
from edgead.stream.sources import SOURCES, check_source, described
from edgead.stream.trigger import open_trigger
from edgead.stream.trigger.base import TriggerSource

Opened = TypeVar("Opened", bound=Closing)


@dataclass(frozen=True, slots=True)
class PipelineResources:
    """What a line is made of."""

    cameras: Sequence[Camera]
    detector: Detector
    sinks: Sequence[Sink]
    triggers: Sequence[TriggerSource]
    plcs: Sequence[PlcOutput]
    recipes: Mapping[int, OpenRecipe]
    audit: AuditLog
    bundles: StationBundles
    areas: StationAreas


def open_resources(config: StationConfig, stack: ExitStack, file: Path | None = None) -> PipelineResources:
    """Open what the configuration names; `stack` closes it. `file` is the one that it was read from.

    Raises UsageError, BundleError, EngineError, SourceError, or DataError for a place that cannot be written.
    """
    specs = checked_specs(config)
    names = [name for name, _ in named(specs)]
    detector = open_detector(config)
    stack.callback(detector.close)
    scale = scale_of(config, detector.bundle.manifest.mm_per_pixel)
    own = read_named_areas(config.areas, names, scale)
    masks = read_roi_masks(config.judge, config.ignore, names, own)
    bits = config.bits or detector.bundle.manifest.input.bits
    cameras = open_cameras(specs, policy=config.policy, bits=bits, timeout=config.timeout, give_up=config.give_up)
    stack.callback(close_cameras, cameras)
    cameras = [replace(camera, roi_mask=mask) for camera, mask in zip(cameras, masks, strict=True)]
    recipes = open_recipes(config, names, detector, stack, scale)
    sinks = _open_sinks(config, cameras, stack)
    if config.shadow:
        sinks.append(_open_shadow(config, cameras, detector))
        stack.callback(sinks[-1].close)
    versions = stack.enter_context(open_versions(config))
    bundles = StationBundles(versions, None if config.shadow is None else Path(config.shadow))
    triggers = [_opened(stack, open_trigger(spec)) for spec in config.trigger]
    plcs = [_opened(stack, open_plc(spec)) for spec in config.plc]
    audit = _open_audit(config, cameras, detector, own)
    stack.callback(audit.close)
    fusion = detector.bundle.manifest.fusion
    areas = StationAreas(config, names, (fusion.height, fusion.width), audit, file, scale)
    return PipelineResources(cameras, detector, sinks, triggers, plcs, recipes, audit, bundles, areas)


def _opened(stack: ExitStack, one: Opened) -> Opened:
    stack.callback(one.close)
    return one


def open_detector(config: StationConfig) -> Detector:
    """The detector that judges; raises BundleError, EngineError or UsageError."""
    bundle = open_bundle(config)
    rules = ops.Rules(config.threshold, config.review, smallest_area(config, bundle.manifest.mm_per_pixel))
    return Detector(
        bundle,
        engine=config.engine,
        precision=config.precision,
        threads=config.threads,
        device=config.device,
        rules=rules,
    )


def smallest_area(config: StationConfig, mm_per_pixel: float) -> float:
    """The smallest area that counts, in pixels of the frame; `mm_per_pixel` is the bundle's scale, 0 where it knows
    none. Raises UsageError where square millimeters are asked for without a scale, or pixels as well."""
    return in_pixels(config.min_area, config.min_area_mm2, scale_of(config, mm_per_pixel)) or 0.0


def scale_of(config: StationConfig, mm_per_pixel: float) -> float:
    """The scale of the frames: the station's, or else the bundle's `mm_per_pixel`; 0 where neither knows one."""
    return config.mm_per_pixel or mm_per_pixel


def open_bundle(config: StationConfig) -> Bundle:
    """The station's bundle, signed with a trusted key where the station demands that.

    Raises BundleError or UsageError.
    """
    return Bundle.open(find_bundle(config), trust=read_trust(config))


def read_trust(config: StationConfig) -> Trust | None:
    """Whose bundles the station uses; None: anybody's. Raises UsageError."""
    if not config.trust:
        return None
    trust: Trust = Lazy("edgead.bundle.signing:read_trust", extra="signing").load("trust")(config.trust)
    return trust


def find_bundle(config: StationConfig) -> Path:
    """The bundle that is named, or the newest in the current folder; raises UsageError where there is none."""
    return Path(config.bundle) if config.bundle else newest_bundle()


def open_versions(config: StationConfig) -> Versions:
    """The station's bundle and those before it; changes go to the audit log that the station itself writes to.

    Raises UsageError.
    """
    labels = [described(spec) for _, spec in named(config.specs)]
    path = Path(config.audit) if config.audit else state_folder("audit.jsonl")
    return Versions(find_bundle(config), AuditLog(path, ", ".join(labels)), read_trust(config))


def newest_bundle() -> Path:
    """The newest bundle in the current folder; raises UsageError where there is none."""
    found = [path for path in Path.cwd().glob("*.edgead") if path.is_file()]
    if not found:
        raise UsageError(f"which bundle? give --bundle FILE or set EDGEAD_MODEL: {Path.cwd()} has no .edgead file")
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def with_bundle(resolved: Resolved[StationConfig]) -> Resolved[StationConfig]:
    """The settings with what their bundle says where nothing else does; raises BundleError or UsageError."""
    bundle = open_bundle(resolved.config)
    return resolved.below(BUNDLE, {"bundle": str(bundle.path), "bits": bundle.manifest.input.bits})


def checked_specs(config: StationConfig) -> list[str]:
    """What is looked at; raises UsageError where that is nothing, or does not fit to what is asked of it."""
    if not config.specs:
        raise UsageError("nothing to look at: give --camera 0, or --source with a folder, an image, a video or a URL")
    video = None if config.video is None else Path(config.video)
    for _, spec in named(config.specs):
        kind, name = check_source(spec)
        if config.vote == "name" and SOURCES[kind].live:
            raise UsageError(f"--vote name is for files; frames of {described(spec)} have one name: give a number")
        if (config.trigger or config.plc) and not SOURCES[kind].live:
            raise UsageError(f"a trigger is for live sources: {described(spec)} is none")
        if video is not None and video.is_file() and Path(name).is_file() and video.samefile(name):
            raise UsageError(f"--video {video} would overwrite the source: give another file")
    return config.specs


def _open_audit(
    config: StationConfig, cameras: Sequence[Camera], detector: Detector, named_areas: Sequence[NamedRoi]
) -> AuditLog:
    """The log of changes, in which what this start changes is noted already."""
    live = any(camera.live for camera in cameras)
    path = Path(config.audit) if config.audit else state_folder("audit.jsonl") if live else None
    audit = AuditLog(path, ", ".join(camera.label or camera.name for camera in cameras))
    asked = {"judge": config.judge, "ignore": config.ignore}
    areas = {kind: [identified(area) for area in given] for kind, given in asked.items()}
    areas["areas"] = [one.identity for one in named_areas]
    own = ("threshold", "review", "min_area", "min_area_mm2", "vote", "vote_rule", "deadline", "health", "policy")
    audit.begin({"bundle": detector.model, **{name: getattr(config, name) for name in own}, **areas})
    return audit


def _open_shadow(config: StationConfig, cameras: Sequence[Camera], detector: Detector) -> Sink:
    """What compares another bundle with the line; raises BundleError or UsageError for one that cannot be used."""
    from edgead.stream.shadow.process import Settings
    from edgead.stream.shadow.sink import Shadow

    bundle = Bundle.open(str(config.shadow), trust=read_trust(config))
    if bundle.digest == detector.bundle.digest:
        raise UsageError(f"the shadow {config.shadow} is the bundle that judges: name another, or none")
    settings = Settings(
        bundle=str(config.shadow),
        line=detector.bundle.digest,
        engine=config.engine,
        precision=config.precision,
        device=config.device,
        idle=any(camera.live for camera in cameras),
    )
    return Shadow(settings, patient=not settings.idle)


def _open_sinks(config: StationConfig, cameras: Sequence[Camera], stack: ExitStack) -> list[Sink]:
    """The sinks asked for; each is on the stack as soon as it is open."""
    from edgead.stream.sinks.video import VideoFile

    sinks: list[Sink] = [JsonLines()] if config.json or config.jsonl == "-" else []
    places = (("jsonl", None if config.jsonl == "-" else config.jsonl), ("images", config.save))
    asked = [(kind, Path(path)) for kind, path in places if path]
    for spec, path in (*asked, *((spec, None) for spec in config.sinks)):
        sinks.append(open_sink(spec, path))
        stack.callback(sinks[-1].close)
    if config.video is not None:
        sinks.append(VideoFile(Path(config.video), _fps(cameras)))
        stack.callback(sinks[-1].close)
    return sinks


def _fps(cameras: Sequence[Camera]) -> float:
    """The frames a second of a video of what the cameras show; 0 where none says."""
    return max((camera.source.fps for camera in cameras if camera.source is not None), default=0.0)
