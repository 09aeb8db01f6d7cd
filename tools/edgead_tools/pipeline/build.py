"""Builds: from a folder of good images to a verified bundle.

images -> checked and split -> trained -> exported (torch ends here) -> thresholds through the same detector the
line runs -> golden frames -> lower precisions where a recipe asks for them -> bundle. Stages talk through files in the
run's folder beside the bundle, so a build that was stopped goes on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgead import Bundle, Detector
from edgead.bundle import SCHEMA, Artifact, FusionSpec, InputSpec, Manifest, Member, Thresholds
from edgead.bundle.store import check_target, write_bundle
from edgead.config import BuildConfig
from edgead.config.loader import validated
from edgead.errors import DataError, UsageError
from edgead.images import read_area, read_image
from edgead.types import ImageU8
from edgead.wording import printable
from edgead_calibration.good_images import parts_in_words
from edgead_calibration.health import fit_health, spread_out
from edgead_calibration.images import evenly_spaced
from edgead_calibration.recipe import load_recipe
from edgead_calibration.thresholds import fit_thresholds, threshold_summary
from edgead_tools.backbones.weights import find
from edgead_tools.components import Drawn, read_drawn
from edgead_tools.data import Cache, Checked, Dataset, Sample, Split, check, open_dataset, split
from edgead_tools.data.anomalies import FolderTextures
from edgead_tools.data.cache import Rows
from edgead_tools.data.foreground import Foreground, read_foreground
from edgead_tools.evaluation.evaluate import Evaluation, evaluate
from edgead_tools.export.network import export
from edgead_tools.export.program import ExportedProgramFile
from edgead_tools.methods import Method, TrainingImages, create_method
from edgead_tools.pipeline.component_mask import MASK, foreground_from_components, masked_fusion, open_segmentation
from edgead_tools.pipeline.detection import measure_detection
from edgead_tools.pipeline.golden import ANOMALY, make_golden
from edgead_tools.pipeline.good_scores import OutOfFold, collect_good_scores
from edgead_tools.pipeline.outliers import exclude, outlier_records, report_outliers
from edgead_tools.pipeline.precisions import fill
from edgead_tools.pipeline.provenance import provenance_of
from edgead_tools.pipeline.runs import check_space, has_training, open_run, pin_images
from edgead_tools.training.distillation import MapTeacher
from edgead_tools.training.loop import Run
from edgead_tools.training.progress import OnProgress, Reporter
from edgead_tools.training.session import check_device

NETWORK = "model.fp32.onnx"
SEGMENTED = 64  # good images at most in which a bundle with components looks for the part
EXAMPLES = 8  # calibration images on which the exported network is compared with torch
REFERENCE = "onnx"  # the engine FP32's thresholds and golden maps are read through, whatever else is installed
UNWRITTEN = "0" * 64  # the digest of a bundle that is still being made


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The data of one build."""

    dataset: Dataset
    checked: Checked
    parts: Split

    def training(self, large: Rows | None = None, drawn: Drawn | None = None) -> TrainingImages:
        """What a method learns from, in memory at network size; `large` has the checked images at another, `drawn` the
        label maps or masks of training images."""
        assert self.checked.images is not None  # the check was given a cache
        train, calibration = (
            np.asarray(self.checked.images[self.checked.rows(side)])
            for side in (self.parts.train, self.parts.calibration)
        )
        bigger = None if large is None else np.asarray(large[self.checked.rows(self.parts.train)])
        if drawn is None:
            return TrainingImages(train, calibration, bigger)
        return TrainingImages(train, calibration, bigger, drawn.names, drawn.labels, drawn.masks)

    @property
    def good(self) -> tuple[Sample, ...]:
        """Every good image that is used."""
        return (*self.parts.train, *self.parts.calibration, *self.parts.held_out)

    def frame_size(self) -> tuple[int, int]:
        """Height and width of the first image as it is on disk."""
        height, width, _ = read_image(self.parts.train[0].path).shape
        return height, width


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """What a build gives: the bundle as read back, and its figures where the data set has labeled images."""

    bundle: Bundle
    evaluation: Evaluation | None


def build(config: BuildConfig, reporter: Reporter, *, fresh: bool = False, finish: bool = False) -> Built:
    """Build a bundle and write it to `config.bundle_path`.

    An unfinished build of the same settings and data is continued; `fresh` starts anew, `finish` takes the
    training as far as it came. Raises an EdgeadError; nothing half-written is left at the bundle's path.
    """
    config = validated(config)
    method = create_method(config.method, config.preset, config.options)
    _check_needs(config, method)
    dataset = exclude(open_dataset(config.data), config.exclude)
    with open_run(config, fresh=fresh) as folder:
        if finish and not has_training(folder):
            raise UsageError(f"there is no unfinished training for {config.bundle_path}: build without --finish")
        try:
            return _build(config, method, dataset, folder, reporter, finish=finish)
        except KeyboardInterrupt as interrupt:
            if not has_training(folder):
                raise
            said = f"{interrupt}; " if interrupt.args else ""
            raise KeyboardInterrupt(
                f"{said}the same command continues the build, with --finish it takes the training as far as it came"
            ) from interrupt


def _check_needs(config: BuildConfig, method: Method) -> None:
    """Find out before the first image is read what would stop the build after the last."""
    check_target(config.bundle_path)
    if config.budget_seconds == 0 and not getattr(method, "memory", 0):
        raise UsageError(
            f"method '{config.method}', preset '{config.preset}', has no memory here and must be trained: "
            "give a budget above 0"
        )
    if config.recipe:
        load_recipe(config.recipe)
    check_device(config.device)
    given = Path(config.weights) if config.weights else None
    if len(method.weights) > 1 and given is not None and given.is_file():
        raise UsageError(f"this method takes {' and '.join(method.weights)}: give a folder that holds their files")
    for name in method.weights:
        find(name, given)
    if config.distill_from:
        if not method.distils:
            raise UsageError(f"method '{config.method}', preset '{config.preset}', cannot learn from a bundle's maps")
        MapTeacher(Path(config.distill_from)).close()
    if config.textures:
        FolderTextures.open(Path(config.textures))
    if config.mask and method.segments:
        raise UsageError(f"method '{config.method}' takes no mask: leave what does not matter undrawn in label maps")
    if config.mask:
        check_mask = open_segmentation if Path(config.mask).suffix == ".edgead" else read_area
        check_mask(Path(config.mask))


def _build(
    config: BuildConfig, method: Method, dataset: Dataset, folder: Path, reporter: Reporter, *, finish: bool
) -> Built:
    images = _open_images(config, config.size or method.size, dataset, folder, reporter)
    pin_images(folder, images.checked.digest)
    foreground = _read_mask(config, images, reporter) if config.mask else None
    side = config.size or method.size
    drawn = read_drawn(dataset.root, images.parts.train, side, side) if method.segments else None
    training = images.training(_at_teachers_size(config, images, folder, reporter), drawn)
    with reporter.stage(f"training {config.method}") as on_progress:
        trained = method.train(training, _run(config, folder, on_progress, finish=finish))
    with reporter.stage("exporting"):
        exported = export(trained, folder / NETWORK, training.calibration[:EXAMPLES])
    kept = ExportedProgramFile.of(trained) if config.program else None
    record = exported.card() | (kept.card() if kept else {})
    left = (*images.dataset.left, *images.checked.rejected)
    provenance = provenance_of(config, images.checked, images.parts, left, trained) | {"export": record}
    members = {NETWORK: (folder / NETWORK).read_bytes(), **trained.members}
    fusion = trained.fusion
    if foreground is not None:
        fusion, members[MASK] = masked_fusion(fusion, foreground)
    manifest = _unfitted(config, trained.input, fusion, members, provenance)
    manifest, members = _calibrate(images, manifest, members, trained.out_of_fold, config, reporter)
    manifest = _observe(images, manifest, reporter)
    if config.recipe:
        bundle = Bundle(manifest, members, UNWRITTEN, None)
        manifest, members, _ = fill(bundle, config.recipe, images.dataset, images.parts, reporter, seed=config.seed)
    manifest, measured = _measure(images, manifest, members, reporter)
    if kept is not None:
        kept.write(Path(config.program), Bundle(manifest, members, UNWRITTEN, None))
    bundle = write_bundle(config.bundle_path, manifest, members)
    shutil.rmtree(folder)
    report_outliers(bundle, images.good, reporter)
    reporter.say(f"{bundle.path}: {threshold_summary(manifest.artifacts[0].thresholds)}")
    return Built(bundle, measured)


def _open_images(config: BuildConfig, side: int, dataset: Dataset, folder: Path, reporter: Reporter) -> Images:
    cache = Cache(folder / "images.npy", side, side)
    check_space(folder, (len(dataset.train) + len(dataset.validation)) * side * side * 3)
    with reporter.stage("checking images") as on_progress:
        checked = check((*dataset.train, *dataset.validation), config.bits, cache=cache, on_progress=on_progress)
    for one in (*dataset.left, *checked.rejected):
        reporter.say(f"left out {one}")
    if sentence := parts_in_words(checked.parts):
        reporter.say(sentence)
    numbers = dict(zip(checked.kept, checked.parts, strict=True))
    parts = split(checked.kept, config.seed, validation=dataset.validation, parts=numbers)
    reporter.say(
        f"{dataset.root}: {len(parts.train)} images to train, {len(parts.calibration)} to calibrate, "
        f"{len(parts.held_out)} kept aside for thresholds"
    )
    return Images(dataset, checked, parts)


def _at_teachers_size(config: BuildConfig, images: Images, folder: Path, reporter: Reporter) -> Rows | None:
    """The checked images at the size of the bundle that is distilled from, if one is."""
    if not config.distill_from:
        return None
    with MapTeacher(Path(config.distill_from)) as teacher, reporter.stage("reading for the teacher") as on_progress:
        cache = Cache(folder / "teacher-images.npy", *teacher.size)
        return check(images.checked.kept, config.bits, cache=cache, on_progress=on_progress).images


def _run(config: BuildConfig, folder: Path, on_progress: OnProgress, *, finish: bool) -> Run:
    return Run(
        folder=folder,
        seed=config.seed,
        budget=config.budget_seconds,
        steps=config.steps,
        epochs=config.epochs,
        device=config.device,
        threads=config.threads,
        weights=Path(config.weights) if config.weights else None,
        textures=Path(config.textures) if config.textures else None,
        distill_from=Path(config.distill_from) if config.distill_from else None,
        on_progress=on_progress,
        finish=finish,
    )


def _read_mask(config: BuildConfig, images: Images, reporter: Reporter) -> Foreground:
    """What is judged: as it was painted, or as a bundle with components sees it in some of the good images."""
    if Path(config.mask).suffix != ".edgead":
        return read_foreground(Path(config.mask), images.frame_size())
    samples = evenly_spaced(images.parts.train, SEGMENTED)
    with reporter.stage("looking where the part is") as on_progress:

        def frames() -> Iterator[ImageU8]:
            for count, sample in enumerate(samples, start=1):
                yield read_image(sample.path, bits=config.bits)
                on_progress(count, len(samples))

        return foreground_from_components(open_segmentation(Path(config.mask)), frames())


def _calibrate(
    images: Images,
    manifest: Manifest,
    members: dict[str, bytes],
    out_of_fold: OutOfFold,
    config: BuildConfig,
    reporter: Reporter,
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and members with thresholds and golden maps, both read through the detector the line runs."""
    with Detector(Bundle(manifest, members, UNWRITTEN, None), engine=REFERENCE) as detector:
        with reporter.stage("fitting thresholds") as on_progress:
            good = collect_good_scores(detector, out_of_fold, images.parts, on_progress)
        thresholds = fit_thresholds(good.scores, good.maxima, config.false_alarm_rate, good.margin)
        pictures, golden = make_golden(detector, images.parts.held_out, thresholds)
        with reporter.stage("planting defects") as on_progress:
            detection = measure_detection(detector, images.parts.held_out, thresholds.image, config.seed, on_progress)
    artifact = msgspec.structs.replace(
        manifest.artifacts[0],
        thresholds=thresholds,
        good_scores=good.scores,
        good_maxima=good.maxima,
        good_margin=good.margin,
        golden=tuple(golden.maps),
        golden_scores=golden.scores,
        tolerance=golden.tolerance,
    )
    contents = members | pictures | golden.maps
    provenance = manifest.provenance | {"outliers": outlier_records(good)}
    golden_names = {"golden_frames": tuple(pictures), "golden_anomalies": (ANOMALY,), "detection": detection}
    return _replaced(manifest, contents, artifacts=(artifact,), provenance=provenance, **golden_names), contents


def _observe(images: Images, manifest: Manifest, reporter: Reporter) -> Manifest:
    """The manifest with what the camera shows of good parts, for the line to notice when it shows something else."""
    with reporter.stage("looking at the camera") as on_progress:
        taken = spread_out(len(images.good))

        def frames() -> Iterator[ImageU8]:
            for count, index in enumerate(taken, start=1):
                yield read_image(images.good[index].path, bits=manifest.input.bits)
                on_progress(count, len(taken))

        return msgspec.structs.replace(manifest, health=fit_health(frames()))


def _measure(
    images: Images, manifest: Manifest, members: dict[str, bytes], reporter: Reporter
) -> tuple[Manifest, Evaluation | None]:
    """The manifest with what the detector achieves on the data set's labeled images, where it has any.

    Labeled images that cannot be read are said and left out; where none can, that costs the figures, not the bundle.
    """
    if not images.dataset.test:
        return manifest, None
    with reporter.stage("evaluating") as on_progress, Detector(Bundle(manifest, members, UNWRITTEN, None)) as detector:
        try:
            measured = evaluate(detector, images.dataset, on_progress)
        except DataError as error:
            reporter.say(f"the bundle was not measured: {error}")
            return manifest, None
    for one in measured.left_out:
        reporter.say(f"left out {one.path}: {one.reason}")
    provenance = manifest.provenance | {"measured": measured.to_dict()}
    return _replaced(manifest, members, provenance=provenance), measured


def _unfitted(
    config: BuildConfig, spec: InputSpec, fusion: FusionSpec, members: dict[str, bytes], provenance: dict[str, Any]
) -> Manifest:
    """The manifest of a network whose thresholds are yet to be fitted; it is read with, never judged with."""
    nothing = Thresholds(
        image=1.0,
        image_center=0.0,
        pixel=1.0,
        pixel_center=0.0,
        false_alarm_rate=0.5,
        images=0,
        interval=(0.0, 1.0),
        promised=False,
    )
    network = Artifact(
        member=NETWORK, precision="fp32", thresholds=nothing, good_scores=(), good_maxima=(), golden=(), tolerance=0.0
    )
    return Manifest(
        schema=SCHEMA,
        name=printable(config.bundle_path.stem),
        method=config.method,
        input=msgspec.structs.replace(spec, bits=config.bits),
        fusion=fusion,
        artifacts=(network,),
        golden_frames=(),
        members=_listed(members),
        provenance=provenance,
        mm_per_pixel=config.mm_per_pixel,
    )


def _replaced(manifest: Manifest, members: dict[str, bytes], **changes: Any) -> Manifest:
    return msgspec.structs.replace(manifest, members=_listed(members), **changes)


def _listed(members: dict[str, bytes]) -> dict[str, Member]:
    """The members by name; `write_bundle` fills the digests in."""
    return {name: Member(sha256="", size=len(data)) for name, data in members.items()}
