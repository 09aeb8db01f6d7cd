"""Grows the bank of good images of a bundle that matches objects, and refits what rests on it.

Old and new images are fitted as those of a build are (`matching.fit_matching`), each measured as if it were not in the
bank. The network stays, and with it the memory of good patches. The units of both branches stay too, so that the scores
that the bundle keeps of its first good images go on counting for the thresholds, beside those of the new ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from edgead import Bundle, Detector
from edgead.bundle import Artifact, Manifest
from edgead.bundle.store import list_members
from edgead.engines.base import CpuEngine
from edgead.errors import DataError, EngineError, GateError, UsageError
from edgead.ops import fuse_batch, load_mask, load_references
from edgead.ops.matching import FARTHEST, judge_scene, measure, standardize
from edgead.ops.references import References
from edgead.ops.scene import Scene, find_masks, see
from edgead.types import ImageU8, MapF32
from edgead.verify import golden_frame, verify
from edgead_calibration.golden import TOLERANCE, encode_map, record_golden
from edgead_calibration.matching import FittedMatching, fit_matching, members_of
from edgead_calibration.refit import replaced
from edgead_calibration.thresholds import fit_thresholds

KNOWN = 0.005  # of the length of an image's features, by which those of the same image may differ from engine to engine
LIKE = 0.75 * FARTHEST  # standard deviations within which an object looks like one of its kind
ENOUGH = 0.5  # of the objects that a good image must have of the product
MOST = 200  # images in the bank, where the build did not say


@dataclass(slots=True)
class NewImages:
    """Good images at the network's size, seen through the FP32 network."""

    names: list[str] = field(default_factory=list)
    images: list[ImageU8] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    fused: list[MapF32] = field(default_factory=list)
    known: list[str] = field(default_factory=list)  # those that the bank has already
    unlike: list[str] = field(default_factory=list)  # those of another product


@dataclass(frozen=True, slots=True)
class Grown:
    """The bundle as it would be written, and what became of the images."""

    bundle: Bundle
    before: int  # images in the bank
    after: int
    odd: tuple[str, ...]  # new images that show another number of objects: they set thresholds and are no references


def look_at(bundle: Bundle, images: Iterable[tuple[str, ImageU8]]) -> NewImages:
    """What the bundle sees in good images, by name. Raises UsageError for a bundle that matches no objects, DataError
    where images show another product, where there are none, or all are in the bank already."""
    references = load_references(bundle)
    if references is None:
        method = bundle.manifest.method
        raise UsageError(
            f"the bundle's method '{method}' keeps no good images: `edgead calibrate` refits its thresholds"
        )
    found = NewImages()
    with ExitStack() as stack:
        engine = _engine(bundle, bundle.manifest.artifact("fp32"), stack)
        for name, image in images:
            small, scene, fused = _see(engine, bundle, references, image)
            if references.distance_to_nearest(scene) < KNOWN:
                found.known.append(name)
            elif not _is_of_product(scene, references):
                found.unlike.append(name)
            else:
                found.names.append(name)
                found.images.append(small)
                found.scenes.append(scene)
                found.fused.append(fused)
    total = len(found.names) + len(found.known) + len(found.unlike)
    if found.unlike:
        some = ", ".join(found.unlike[:5]) + (" ..." if len(found.unlike) > 5 else "")
        raise DataError(
            f"{len(found.unlike)} of {total} images do not show this product, {some}: of its "
            f"{len(references.spec.slots)} objects less than half are there; take them out, or build a bundle of them"
        )
    if not total:
        raise DataError("no image can be used: give good images of this product")
    if not found.scenes:
        raise DataError(f"all {len(found.known)} images are in the bank already: there is nothing to add")
    return found


def grow(bundle: Bundle, new: NewImages, most: int | None = None, who: str = "", source: str = "") -> Grown:
    """The bundle with the new images in its bank, of at most `most` images (None: as many as its build allowed), with
    matching, golden readings and thresholds fitted anew, and verified on this machine.

    Raises EngineError where a network's engine is not here, GateError where the bundle would not keep its golden
    frames.
    """
    manifest, old = bundle.manifest, load_references(bundle)
    assert old is not None  # it was looked through
    seed, allowed = _of_build(manifest)
    scenes = [*(old.scene_of(image) for image in range(len(old.bank))), *new.scenes]
    fitted = fit_matching(scenes, old.spec, most or max(allowed, len(old.bank)), seed)
    references = replace(fitted.references, scenery=old.scenery)
    fusion = msgspec.structs.replace(manifest.fusion, matching=references.spec)
    members = bundle.members() | members_of(references)
    fitting = Bundle(
        msgspec.structs.replace(manifest, fusion=fusion, members=list_members(members)), members, path=bundle.path
    )
    with ExitStack() as stack:
        artifacts = tuple(
            _refitted(one, _engine(fitting, one, stack), fitting, new, (fitted, references))
            for one in manifest.artifacts
        )
    usual = references.spec.proposals.count
    odd = tuple(name for name, one in zip(new.names, new.scenes, strict=True) if len(one.places) != usual)
    entry = {
        "what": f"bank of good images grown from {len(old.bank)} to {len(references.bank)}",
        "who": who,
        "source": source,
        "images": len(new.names),
    }
    made = replaced(fitting.manifest, artifacts, entry)
    return Grown(_verified(_with_golden(made, members)), len(old.bank), len(references.bank), odd)


def _engine(bundle: Bundle, artifact: Artifact, stack: ExitStack) -> CpuEngine:
    """The engine of a network, which must be here: its golden readings are recorded anew."""
    alone = Bundle(msgspec.structs.replace(bundle.manifest, artifacts=(artifact,)), bundle.members())
    name = f"the {artifact.precision} network for {artifact.engine or 'any engine'}"
    try:
        detector = stack.enter_context(Detector(alone, engine=artifact.engine or "auto"))
    except EngineError as error:
        raise EngineError(f"{name} cannot be read here, so the bank cannot grow on this machine: {error}") from error
    if not isinstance(detector.engine, CpuEngine):
        raise EngineError(f"{name} runs on no engine of the CPU here: install edgead[openvino] or onnxruntime")
    return detector.engine


def _see(engine: CpuEngine, bundle: Bundle, references: References, image: ImageU8) -> tuple[ImageU8, Scene, MapF32]:
    """An image at the network's size, its scene, and its fused map without objects."""
    manifest = bundle.manifest
    small, outputs = engine.outputs_of(image)
    spec = references.spec
    scene = see(find_masks(small, outputs, spec.proposals, references.scenery, engine.finder), outputs, spec)
    maps = {name: values[None] for name, values in outputs.items()}
    return np.array(small), scene, fuse_batch(maps, manifest.input, manifest.fusion, load_mask(bundle))


def _is_of_product(scene: Scene, references: References) -> bool:
    """Whether enough of the usual objects are there, each like a good one of its kind."""
    measured = measure(scene, references)
    appearance = standardize(measured, references.spec)[0]
    there = int(((measured.slots >= 0) & (appearance < LIKE)).sum())
    return there >= ENOUGH * len(references.spec.slots)


def _of_build(manifest: Manifest) -> tuple[int, int]:
    """The seed of the build, and how many images its bank may have."""
    config = manifest.provenance.get("config", {})
    options = config.get("options") or {}
    return int(config.get("seed", 0)), int(options.get("bank", MOST))


def _refitted(
    artifact: Artifact, engine: CpuEngine, bundle: Bundle, new: NewImages, found: tuple[FittedMatching, References]
) -> Artifact:
    """The network's thresholds, fitted to the good scores it knows and to those of the new images, each as if it were
    not in the bank."""
    fitted, references = found
    manifest, mask = bundle.manifest, load_mask(bundle)
    first = len(fitted.measured) - len(new.scenes)
    in_bank = {index: place for place, index in enumerate(fitted.banked)}
    scores, maxima = list(artifact.good_scores), list(artifact.good_maxima)
    for index, image in enumerate(new.images):
        scene, fused, measured = new.scenes[index], new.fused[index], fitted.measured[first + index]
        if artifact.precision != "fp32":
            _, scene, fused = _see(engine, bundle, references, image)
            place = in_bank.get(first + index)
            measured = measure(scene, references, () if place is None else (place,))
        anomaly_map, score, _ = judge_scene(scene, measured, fused, manifest.fusion, references, mask)
        scores.append(score)
        maxima.append(float(anomaly_map.max()))
    rate = artifact.thresholds.false_alarm_rate
    return msgspec.structs.replace(
        artifact,
        thresholds=fit_thresholds(scores, maxima, rate, artifact.good_margin),
        good_scores=tuple(scores),
        good_maxima=tuple(maxima),
    )


def _with_golden(manifest: Manifest, members: dict[str, bytes]) -> Bundle:
    """The bundle with what its networks read from the golden frames now, FP32 first: the others are held to it."""
    order = sorted(range(len(manifest.artifacts)), key=lambda index: manifest.artifacts[index].precision != "fp32")
    artifacts = list(manifest.artifacts)
    for index in order:
        current = msgspec.structs.replace(manifest, artifacts=tuple(artifacts), members=list_members(members))
        artifacts[index], added = _recorded(Bundle(current, members), artifacts[index])
        members |= added
    return Bundle(msgspec.structs.replace(manifest, artifacts=tuple(artifacts), members=list_members(members)), members)


def _recorded(bundle: Bundle, artifact: Artifact) -> tuple[Artifact, dict[str, bytes]]:
    """A network with its golden readings of now, and their maps by member."""
    alone = Bundle(msgspec.structs.replace(bundle.manifest, artifacts=(artifact,)), bundle.members())
    with Detector(alone, engine=artifact.engine or "auto") as detector:
        if artifact.precision != "fp32":
            found = record_golden(bundle, detector, bundle.manifest.artifact("fp32"), artifact.precision)
            maps = dict(zip(artifact.golden, found.maps.values(), strict=True))
            limits = {"tolerance": found.tolerance, "score_tolerance": found.score_tolerance}
            return msgspec.structs.replace(artifact, golden_scores=found.scores, **limits), maps
        readings = [detector.read(golden_frame(bundle, name)) for name in bundle.manifest.golden_frames]
    maps = {name: encode_map(one.anomaly_map) for name, one in zip(artifact.golden, readings, strict=True)}
    largest = max((float(np.abs(one.anomaly_map).max()) for one in readings), default=1.0)
    scores = tuple(one.score for one in readings)
    return msgspec.structs.replace(artifact, golden_scores=scores, tolerance=TOLERANCE * max(1.0, largest)), maps


def _verified(bundle: Bundle) -> Bundle:
    """The bundle; raises GateError unless each network keeps the golden frames, among them the planted anomaly."""
    for artifact in bundle.manifest.artifacts:
        alone = Bundle(msgspec.structs.replace(bundle.manifest, artifacts=(artifact,)), bundle.members())
        with Detector(alone, engine=artifact.engine or "auto") as detector:
            failed = [check.frame for check in verify(alone, detector) if not check.passed]
        if failed:
            raise GateError(
                f"with these images the {artifact.precision} network would not keep {', '.join(failed)}: their scores "
                "let a planted anomaly pass, so they are no good parts, or the bundle is to be built anew with them"
            )
    return bundle
