"""Builds: from a folder of good images to a verified bundle.

images -> checked and split -> trained -> exported (torch ends here) -> thresholds through the same detector the
line runs -> golden frames -> lower precisions where a recipe asks for them -> bundle. Stages talk through files in the
run's folder beside the bundle, so a build that was stopped goes on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgead import Bundle, Detector
from edgead.bundle import InputSpec
from edgead.bundle.draft import BundleDraft, DraftNetwork, DraftSpec
from edgead.bundle.store import check_target, write_bundle
from edgead.config import BuildConfig
from edgead.config.build import AUTO
from edgead.config.loader import validated
from edgead.errors import DataError, UsageError
from edgead.images import read_area
from edgead.ops import load_mask
from edgead.ops.everything import lend
from edgead.progress import OnProgress, Reporter
from edgead.reader import Reader
from edgead.wording import printable
from edgead_calibration.images import evenly_spaced
from edgead_calibration.recipe import load_recipe
from edgead_tools.backbones.weights import find
from edgead_tools.components import read_drawn
from edgead_tools.components.lent_sam import sam_lender
from edgead_tools.data import Dataset, DecodedImages, Sample, open_dataset
from edgead_tools.data.anomalies import FolderTextures
from edgead_tools.data.foreground import Foreground
from edgead_tools.data.input_size import check_square, choose_size
from edgead_tools.evaluation.evaluate import Evaluation, evaluate
from edgead_tools.export.network import export
from edgead_tools.export.program import ExportedProgramFile
from edgead_tools.methods import Method, Trained, TrainingImages, create_method
from edgead_tools.methods.joined import after_training, stands_alone
from edgead_tools.pipeline.build_page import BuildSummary, Scored, report_build
from edgead_tools.pipeline.calibrate import REFERENCE, calibrate
from edgead_tools.pipeline.component_mask import MASK, masked_fusion, open_segmentation, read_foreground_of
from edgead_tools.pipeline.image_findings import image_findings
from edgead_tools.pipeline.images import BuildImages, check_images, split_images
from edgead_tools.pipeline.input_survey import find_tiles
from edgead_tools.pipeline.licenses import check_commercial, licenses_of
from edgead_tools.pipeline.map_weights import weigh
from edgead_tools.pipeline.outliers import exclude, report_outliers
from edgead_tools.pipeline.precisions import fill
from edgead_tools.pipeline.provenance import provenance_of
from edgead_tools.pipeline.runs import has_training, open_run, pin_images
from edgead_tools.pipeline.tiling import of_frames, tile_input
from edgead_tools.training.distillation import MapTeacher
from edgead_tools.training.run import Run
from edgead_tools.training.session import check_device

NETWORK = "model.fp32.onnx"
EXAMPLES = 8  # calibration images on which the exported network is compared with torch
FRAMES = 8  # good images whose detail is measured


@dataclass(frozen=True, slots=True, eq=False)
class BuildResult:
    """What a build gives: the bundle as read back, and its figures where the data set has labeled images."""

    bundle: Bundle
    evaluation: Evaluation | None
    page: Path | None = None  # what there is to look at


def build(
    config: BuildConfig,
    reporter: Reporter,
    *,
    fresh: bool = False,
    finish: bool = False,
    defects: Sequence[Sample] = (),
) -> BuildResult:
    """Build a bundle and write it to `config.bundle_path`.

    `defects` choose what each map counts (`map_weights`), and never what is normal. An unfinished build of the same
    settings and data is continued; `fresh` starts anew, `finish` takes the training as far as it came. Raises an
    EdgeadError; nothing half-written is left at the bundle's path.
    """
    config = validated(config)
    method = create_method(config.method, config.preset, config.method_options)
    _check_needs(config, method)
    dataset = exclude(open_dataset(config.data), config.exclude)
    if config.commercial:
        check_commercial(licenses_of(config, method, dataset))
    with open_run(config, fresh=fresh) as folder:
        if finish and not has_training(folder):
            raise UsageError(f"there is no unfinished training for {config.bundle_path}: build without --finish")
        try:
            with lend(sam_lender(Path(config.weights) if config.weights else None, config.device)):
                return _build(config, method, dataset, folder, reporter, finish=finish, defects=defects)
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
    if config.budget_seconds == 0 and not method.memory:
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
    if config.masks_from:
        open_segmentation(Path(config.masks_from))
        if config.program:
            raise UsageError("program holds one network alone: leave it out, or masks_from")
    if config.distill_from:
        if not method.distils:
            raise UsageError(f"method '{config.method}', preset '{config.preset}', cannot learn from a bundle's maps")
        MapTeacher(Path(config.distill_from)).close()
    if config.textures:
        FolderTextures.open(Path(config.textures))
    if config.tiles and config.tile_grid != (1, 1) and method.segments:
        raise UsageError(f"method '{config.method}' counts the components of whole frames: leave out tiles")
    if config.tiles == AUTO and not method.memory:
        raise UsageError("without a memory nothing tells how many tiles to take: give a grid, such as --tiles 4x3")
    if config.mask and method.segments:
        raise UsageError(f"method '{config.method}' takes no mask: leave what does not matter undrawn in label maps")
    if config.mask:
        check_mask = open_segmentation if Path(config.mask).suffix == ".edgead" else read_area
        check_mask(Path(config.mask))


def _build(
    config: BuildConfig,
    method: Method,
    dataset: Dataset,
    folder: Path,
    reporter: Reporter,
    *,
    finish: bool,
    defects: Sequence[Sample],
) -> BuildResult:
    """The eight steps: check, split, train, export, calibrate, quantize, measure, write."""
    decoded = DecodedImages(config.bits)
    spec, surveyed = _choose_input(config, method, dataset, decoded, folder, reporter)
    checked = check_images(config, spec, dataset, decoded, folder, reporter)
    pin_images(folder, checked.digest)
    images = split_images(config, spec, dataset, checked, decoded, reporter)
    foreground = read_foreground_of(config, images, reporter) if config.mask else None
    images, training, trained = _train(config, method, spec, images, folder, reporter, finish=finish)
    trained = _with_images(config, method, images, trained)
    for one in trained.report["findings"]:
        reporter.say(f"{one['found']} ({one['figures']}): {one['chosen']}; {one['overrule']} overrules it")
    with reporter.stage("exporting"):
        exported = export(trained, folder / NETWORK, training.calibration[: max(EXAMPLES, trained.group)])
    program = ExportedProgramFile.of(trained) if config.program else None
    record = exported.provenance() | (program.provenance() if program else {})
    left = (*dataset.left, *checked.rejected)
    licenses = licenses_of(config, method, dataset)
    provenance = provenance_of(config, checked, images.parts, left, trained, licenses) | surveyed | {"export": record}
    draft = _draft(config, trained, (folder / NETWORK).read_bytes(), foreground, provenance)
    if defects:
        _weigh(config, draft, images, trained, defects, reporter)
    good = calibrate(config, draft, images, trained, reporter)
    bundle = _quantize(config, images, draft.bundle(), reporter)
    bundle, measured = _measure(config, images, bundle, reporter)
    if program is not None:
        program.write(Path(config.program), bundle)
    bundle = write_bundle(config.bundle_path, bundle.manifest, bundle.members())
    shutil.rmtree(folder)
    report_outliers(bundle, images, good.maps, reporter)
    scored = [Scored(*pair) for pair in zip(good.samples, bundle.manifest.artifacts[0].good_scores, strict=True)]
    left = (*left, *(() if measured is None else measured.left_out))
    timed = config.budget_seconds is not None
    size = images.frame_size()
    parts = checked.parts, checked.linked
    summary = BuildSummary(bundle, scored, *parts, left, size, timed, measured, images.frame)
    return BuildResult(bundle, measured, report_build(summary, reporter))


def _choose_input(
    config: BuildConfig, method: Method, dataset: Dataset, decoded: DecodedImages, folder: Path, reporter: Reporter
) -> tuple[InputSpec, dict[str, Any]]:
    """The size of the network's input and the tiles of a frame, and what the bundle records of how they were found."""
    size = choose_size(config.input_size, (method.size,), dataset.train, decoded)
    check_square(size, config.preset)
    run = _run(config, folder, lambda done, total: None, finish=False)
    tiles, found = find_tiles(config, method, dataset.train, size, run, decoded, reporter)
    if tiles is None and not run.trains:
        size = choose_size(config.input_size, (method.size, method.memory_size), dataset.train, decoded)
    return tile_input(size, tiles), {"survey": found} if found else {}


def _train(
    config: BuildConfig, method: Method, spec: InputSpec, images: BuildImages, folder: Path, reporter: Reporter, *,
    finish: bool,
) -> tuple[BuildImages, TrainingImages, Trained]:  # fmt: skip
    """What the method made of the images, and the images as it saw them.

    Where students come to nothing the memory is fitted anew at the larger input that it has without a training.
    """
    drawn = None
    if method.segments:
        drawn = read_drawn(images.dataset.root, images.parts.train, spec.height, spec.width, images.decoded)
    training = images.training(drawn) if spec.tiles is None else images.tiles(spec, folder)
    doing = "fitting the memory of" if config.budget_seconds == 0 else "training"
    with reporter.stage(f"{doing} {config.method}") as on_progress:
        run = _run(config, folder, on_progress, finish=finish)
        trained = method.train(training, run)
    if run.trains and spec.tiles is None and stands_alone(trained):
        size = choose_size(config.input_size, (method.size, method.memory_size), images.dataset.train, images.decoded)
        if size != training.size:
            reporter.say(f"without students the network's input is larger: {size[1]}x{size[0]} pixels; "
                         f"--size {spec.width}x{spec.height} overrules it")  # fmt: skip
            images = images.resized(tile_input(size, None), folder)
            training = images.training()
            with reporter.stage(f"fitting the memory of {config.method}"):
                trained = after_training(method.train(training, run.untrained()), trained)
    return images, training, of_frames(trained, spec.tiles)


def _with_images(config: BuildConfig, method: Method, images: BuildImages, trained: Trained) -> Trained:
    """What was trained, its report with what the images say of the camera after what they say of the part."""
    frames = map(images.frame, evenly_spaced(images.good, FRAMES))
    overlap = config.tile_overlap if method.memory and not method.segments else None
    square = config.preset == "paper"
    rows, figures = image_findings(images.stats(images.good), frames, trained.input, overlap=overlap, square=square)
    findings = [*trained.report.get("findings", ()), *rows]
    return replace(trained, report=trained.report | {"findings": findings, "images": figures})


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


def _draft(
    config: BuildConfig, trained: Trained, network: bytes, foreground: Foreground | None, provenance: dict[str, Any]
) -> BundleDraft:
    """The bundle of a network through which nothing is fitted yet."""
    members, fusion = {NETWORK: network, **trained.members}, trained.fusion
    if foreground is not None:
        fusion, members[MASK] = masked_fusion(fusion, foreground)
    spec = DraftSpec(
        name=printable(config.bundle_path.stem),
        method=config.method,
        input=msgspec.structs.replace(trained.input, bits=config.bits),
        fusion=fusion,
        network=DraftNetwork(NETWORK),
        mm_per_pixel=config.known_scale,
    )
    return BundleDraft(spec, members, provenance)


def _weigh(
    config: BuildConfig,
    draft: BundleDraft,
    images: BuildImages,
    trained: Trained,
    defects: Sequence[Sample],
    reporter: Reporter,
) -> None:
    """Give the draft's maps the weights that labeled defects choose."""
    with Reader(draft, REFERENCE, threads=config.threads) as reader:
        found = weigh(reader, trained, images, defects, load_mask(draft))
    if found is None:
        return
    reporter.say(str(found))
    draft.manifest = replace(draft.manifest, fusion=found.fusion)
    draft.provenance["map_weights"] = {"factors": found.factors, "auroc": found.auroc, "defects": found.defects}


def _quantize(config: BuildConfig, images: BuildImages, bundle: Bundle, reporter: Reporter) -> Bundle:
    """The bundle with the lower precisions of the recipe, where one is given."""
    if not config.recipe:
        return bundle
    manifest, members, _ = fill(
        bundle,
        config.recipe,
        images.dataset,
        images.parts,
        reporter,
        seed=config.seed,
        cached=lambda samples: list(images.rows(samples)),
    )
    return Bundle(manifest, members)


def _measure(
    config: BuildConfig, images: BuildImages, bundle: Bundle, reporter: Reporter
) -> tuple[Bundle, Evaluation | None]:
    """The bundle with what it achieves on the data set's labeled images, where there are any.

    Labeled images that cannot be read are said and left out; where none can, that costs the figures, not the bundle.
    """
    if not images.dataset.test:
        return bundle, None
    with reporter.stage("evaluating") as on_progress, Detector(bundle, threads=config.threads) as detector:
        try:
            measured = evaluate(detector, images.dataset, on_progress)
        except DataError as error:
            reporter.say(f"the bundle was not measured: {error}")
            return bundle, None
    for one in measured.left_out:
        reporter.say(f"left out {one.path}: {one.reason}")
    provenance = bundle.manifest.provenance | {"measured": measured.to_dict()}
    return Bundle(msgspec.structs.replace(bundle.manifest, provenance=provenance), bundle.members()), measured
