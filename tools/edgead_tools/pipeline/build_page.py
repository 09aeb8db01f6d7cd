"""Writes the page of a build: what the good images score, which are strangest, what was left out, what limits it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgead import Bundle, Detector
from edgead.bundle import InputSpec
from edgead.files import write_file
from edgead.listing import LeftOut
from edgead.ops import calibrate
from edgead.progress import Reporter
from edgead.types import ImageU8
from edgead.wording import plural, printable
from edgead_calibration.good_images import parts_in_words
from edgead_calibration.thresholds import least_rate, threshold_summary
from edgead_tools.data import Sample
from edgead_tools.evaluation.evaluate import Evaluation
from edgead_tools.evaluation.report.galleries import Gallery, picture_of
from edgead_tools.evaluation.report.page import Section, gallery, key, page, plots, table, tiles
from edgead_tools.evaluation.report.plots import DEFECTIVE, GOOD, score_histogram
from edgead_tools.pipeline.image_findings import ALL

STRANGEST = 12  # good images shown
FEW_STEPS = 150  # of training: with 19 steps on the solar cells 45 % of the defects were missed, with 196 steps 28 %
FEW_FOUND = 0.5  # of the planted defects; what is found less often than missed limits a bundle
SHRUNK = 3.0  # times that frames are shrunk, from which small defects are lost


@dataclass(frozen=True, slots=True)
class Scored:
    """A good image and its raw score."""

    sample: Sample
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class BuildSummary:
    """What a build's page is made from."""

    bundle: Bundle
    good: Sequence[Scored]
    parts: Sequence[int]  # the number of the part that each usable image shows
    linked: bool  # whether pictures that were taken in a row have one number (`similar_images`)
    left: Sequence[LeftOut]
    frame_size: tuple[int, int]  # (H, W) of the images as they are on disk
    timed: bool  # whether a budget ended the training
    evaluation: Evaluation | None
    frame: Callable[[Sample], ImageU8]  # the pixels of a good image


def report_build(summary: BuildSummary, reporter: Reporter) -> Path:
    """Write the build's page beside the bundle, and say what a person must know."""
    assert summary.bundle.path is not None  # a build has written it
    path = summary.bundle.path.with_suffix(".html")
    write_build_page(path, summary)
    if summary.evaluation is not None:
        reporter.say(figures_in_words(summary.evaluation))
    reporter.say(f"{summary.bundle.path}: {threshold_summary(summary.bundle.manifest.artifacts[0].thresholds)}")
    for sentence in limits(summary):
        reporter.say(f"limit: {sentence}")
    reporter.say(f"page: {path}")
    return path


def write_build_page(path: Path, summary: BuildSummary) -> None:
    """Write the page, self-contained, atomically; the strangest good images are judged anew for their heatmaps."""
    with Detector(summary.bundle) as detector:
        strangest = _strangest(summary, detector)
    sections = [
        Section("", _tiles(summary)),
        Section("What limits this bundle", _list(limits(summary)) or "<p>Nothing that this build can tell.</p>"),
        Section("What the good images say", _findings(summary.bundle)),
        Section("Scores of the good images", _histogram(summary) + _promise(summary)),
        Section(
            "Strangest good images",
            "<p>Is each a good part? If not, take it out and build again. Below it is its score as a new part; the "
            f"heatmap and the score in it are of the finished bundle, which may have learned it.</p>{strangest}",
        ),
        Section("Planted defects", _list(_planted(summary.bundle)) or "<p>None were planted.</p>"),
        Section("Left out", _left_out(summary.left)),
        Section("Next", _list(next_commands(summary.bundle))),
    ]
    write_file(path, page(f"Build of {summary.bundle.manifest.name}", sections).encode("utf-8", "backslashreplace"))


def limits(summary: BuildSummary) -> Iterator[str]:
    """What keeps the bundle from being better, in plain sentences with what to do; none where nothing is seen."""
    manifest = summary.bundle.manifest
    if sentence := parts_in_words(summary.parts, linked=summary.linked):
        yield sentence
    thresholds = manifest.artifacts[0].thresholds
    if not thresholds.promised:
        few = plural(thresholds.counted, "different good part" if thresholds.parts else "good image")
        yield f"{few} can promise no false-alarm rate below {least_rate(thresholds.counted):.1%}: give more"
    training = manifest.provenance.get("training", {})
    steps, seconds = training.get("steps", 0), training.get("seconds", 0.0)
    judges = training.get("memory", {}).get("students", True)  # what was trained, or the memory alone
    if summary.timed and judges and 0 < steps < FEW_STEPS:
        yield (
            f"training took {plural(steps, 'step')} in {seconds:.0f} s, and fewer than {FEW_STEPS} leave defects "
            "unfound: give a longer --budget, a machine with less other work, or a smaller --size"
        )
    height, width = manifest.input.frame
    shrunk = max(summary.frame_size[0] / height, summary.frame_size[1] / width)
    if shrunk > SHRUNK and training.get("images", {}).get("kept", 0.0) < ALL:
        yield (
            f"images of {summary.frame_size[1]} x {summary.frame_size[0]} are shrunk {shrunk:.0f}-fold to "
            f"{width} x {height}: defects below about {3 * shrunk:.0f} pixels are lost; give --tiles auto, a larger "
            "--size, or images of the place where defects appear"
        )
    if manifest.detection is not None and manifest.detection.curves:
        every = manifest.detection.curves[0]
        if every.found < FEW_FOUND * every.planted:
            yield (
                f"only {every.found} of {every.planted} planted defects are found: give more good images, training "
                "(--budget) or pixels (--size, --tiles auto), or place the parts alike"
            )
    if summary.evaluation is None:
        yield "without defective images misses are known of planted defects alone: keep some and use `edgead eval`"


def next_commands(bundle: Bundle) -> Iterator[str]:
    """What to do with the bundle."""
    name = printable(bundle.path or f"{bundle.manifest.name}.edgead")
    yield f"`edgead info {name}`"
    yield f"`edgead predict {name} IMAGES`"
    yield f"`edgead eval {name} GOOD_FOLDER BAD_FOLDER --report page.html`"
    yield f"`edgead threshold {name} --page choose.html`"
    yield f"`edgead run --bundle {name} --camera 0 --sink web:8080`"
    yield f"`edgead station init --bundle {name}`"


def figures_in_words(evaluation: Evaluation) -> str:
    """The figures on labeled images in one line; those that the images cannot give are left out."""
    shown = {
        "image AUROC": None if evaluation.image_auroc is None else f"{evaluation.image_auroc:.3f}",
        "false alarms": None if evaluation.false_alarm_rate is None else f"{evaluation.false_alarm_rate:.1%}",
        "misses": None if evaluation.miss_rate is None else f"{evaluation.miss_rate:.1%}",
    }
    images = plural(len(evaluation.judged), "labeled image")
    return f"on {images}: " + ", ".join(f"{name} {value}" for name, value in shown.items() if value is not None)


def _tiles(summary: BuildSummary) -> str:
    manifest, found = summary.bundle.manifest, summary.evaluation
    training = manifest.provenance.get("training", {})
    figures = [
        ("good images", str(len(summary.parts)), f"{len(set(summary.parts))} different parts"),
        ("left out", str(sum(one.count for one in summary.left)), "see below"),
        ("steps of training", str(training.get("steps", "–")), f"{training.get('seconds', 0):.0f} s"),
        _input_tile(manifest.input),
    ]
    if found is not None and found.false_alarm_rate is not None:
        figures.append(("false alarms", f"{found.false_alarm_rate:.1%}", "on labeled images"))
    if found is not None and found.miss_rate is not None:
        figures.append(("misses", f"{found.miss_rate:.1%}", "on labeled images"))
    return tiles(figures)


def _input_tile(spec: InputSpec) -> tuple[str, str, str]:
    size = f"{spec.width} x {spec.height}"
    if spec.tiles is None:
        return "input", size, "pixels"
    return "input", f"{spec.tiles.columns} x {spec.tiles.rows}", f"tiles of {size} pixels"


def _histogram(summary: BuildSummary) -> str:
    fitted = summary.bundle.manifest.artifacts[0].thresholds
    good = [calibrate(one.score, fitted.image_center, fitted.image) for one in summary.good]
    judged = () if summary.evaluation is None else summary.evaluation.judged
    bad = [one.score for one in judged if not one.is_good]
    names = [("good", GOOD), *([("defective", DEFECTIVE)] if bad else [])]
    words = "1.0 is the threshold: what lies above is NG. 0.0 is a usual good part."
    return plots([f"{score_histogram(good, bad)}{key(names)}"]) + f"<p>{words}</p>"


def _findings(bundle: Bundle) -> str:
    found = bundle.manifest.provenance["training"]["findings"]
    rows = [[one["found"], one["figures"], one["chosen"], one["overrule"]] for one in found]
    return table(["found", "from", "what follows", "what overrules it"], rows, prose=True)


def _promise(summary: BuildSummary) -> str:
    return f"<p>{html.escape(threshold_summary(summary.bundle.manifest.artifacts[0].thresholds))}.</p>"


def _strangest(summary: BuildSummary, detector: Detector) -> str:
    fitted = summary.bundle.manifest.artifacts[0].thresholds
    ranked = sorted(summary.good, key=lambda one: -one.score)[:STRANGEST]
    pictures = []
    for one in ranked:
        caption = (
            f"{one.sample.path.name} · as a new part {calibrate(one.score, fitted.image_center, fitted.image):.2f}"
        )
        pictures.append(picture_of(detector, summary.frame(one.sample), caption))
    return gallery(Gallery("Strangest first, beside their heatmaps", len(summary.good), tuple(pictures)))


def _planted(bundle: Bundle) -> Iterator[str]:
    detection = bundle.manifest.detection
    if detection is not None:
        for curve in detection.curves:
            yield curve.in_words(detection.frame, bundle.manifest.mm_per_pixel)


def _left_out(left: Sequence[LeftOut]) -> str:
    if not left:
        return "<p>Nothing was left out.</p>"
    return table(["file or folder", "why"], [[printable(one.path), one.reason] for one in left], prose=True)


def _list(sentences: Iterator[str]) -> str:
    """A list; what stands between backticks is code."""
    items = "".join(f"<li>{html.escape(printable(one))}</li>" for one in sentences)
    items = re.sub(r"`([^`<]+)`", r"<code>\1</code>", items)
    return f"<ul>{items}</ul>" if items else ""
