"""Rebuilds a bundle with what people said of saved frames, and shows the old one beside the new.

Good parts that were reviewed are learned from, but for one of five, which is kept for the comparison. Defects never say
what is normal: they are judged by both bundles, and where there are some they choose what each map counts, and the
threshold is set where misses and false alarms cost least. What one bundle learned from is never among the images that
both are compared on. Of enough defects a half, by the digests of their names, chooses nothing and tells alone; of few
all choose, and the page says so.
"""

from __future__ import annotations

import hashlib
import html
import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgead import Bundle, Detector
from edgead.bundle.store import write_bundle
from edgead.config import BuildConfig
from edgead.errors import DataError, UsageError
from edgead.files import write_file
from edgead.images import read_image
from edgead.progress import Reporter
from edgead.review.export import NO_KIND, Reviewed, mask_of, read_reviewed
from edgead.review.layout import frame_file
from edgead_calibration.operating_point import Costs, operating_points
from edgead_calibration.refit import add_good, choose_score
from edgead_tools.data import Dataset, Sample, open_dataset
from edgead_tools.evaluation.report.galleries import Gallery, picture_of
from edgead_tools.evaluation.report.page import Section, gallery, page, table
from edgead_tools.pipeline.build import build
from edgead_tools.pipeline.map_weights import LEAST

REVIEWED = "reviewed_"  # how the names of linked frames begin
SHOWN = 40  # changed verdicts with pictures
RANDOM = "random"  # how the reason of a frame that was kept at random begins


@dataclass(frozen=True, slots=True)
class Compared:
    """One image, judged by both bundles."""

    sample: Sample
    old: float  # calibrated scores
    new: float
    has_chosen: bool = False  # a defect by which the new bundle's threshold or weights were chosen

    @property
    def changed(self) -> bool:
        """Whether the verdict is another."""
        return (self.old > 1) != (self.new > 1)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The new bundle, and how it compares."""

    bundle: Bundle
    compared: tuple[Compared, ...]
    page: Path


def rebuild(
    old: Bundle,
    saved: Path,
    out: Path,
    reporter: Reporter,
    *,
    data: str = "",
    changes: Mapping[str, Any] | None = None,
    refit: bool = False,
    weigh: bool = True,
    costs: Costs | None = None,
) -> Rebuilt:
    """Build `out` as `old` was built, with the labels in `saved`; see the module.

    `data` is where the images of the old build are, by default where they were; `changes` are settings of the build
    that are to be others. With `refit` the networks stay, and good parts that were kept at random are added to those
    that the thresholds are fitted to: those that were kept for their scores would shift them. With `weigh` reviewed
    defects choose what each map counts (`map_weights`). `costs` choose the threshold where there are defects; None
    leaves it where good parts put it. Raises an EdgeadError.
    """
    reviewed, counts = read_reviewed(saved)
    if not counts["good"] and not counts["defect"]:
        raise UsageError(f"nothing in {saved} is labeled good or defect yet: label it with `edgead review {saved}`")
    reporter.say(f"{saved}: {counts['good']} good, {counts['defect']} defects, {counts['disagree']} in disagreement")
    config = _config(old, data, out, changes or {})
    folder = out.with_name(f"{out.name}.data")
    dataset = link_data(open_dataset(config.data), reviewed, folder)
    choosing = choosing_defects(dataset)
    by_review = [sample for sample in choosing if Path(sample.name).name.startswith(REVIEWED)] if weigh else []
    if refit:
        new = write_bundle(out, add_good(old, _random_frames(reviewed, old)), old.members())
    else:
        changed = msgspec.structs.replace(config, data=str(folder), exclude="")
        new = build(changed, reporter, defects=by_review).bundle
    if costs is not None and choosing:
        new = _with_least_cost(new, choosing, costs, reporter)
    have_chosen = choosing if costs is not None else [] if refit else by_review
    compared = tuple(_compare(old, new, dataset.test, {sample.name for sample in have_chosen}))
    shown = out.with_name(f"{out.name}.rebuild.html")
    write_file(shown, rebuild_page(old, new, compared, by_cost=costs is not None).encode())
    return Rebuilt(new, compared, shown)


def choosing_defects(dataset: Dataset) -> list[Sample]:
    """The defects that may choose: a half by the digests of their names, or all where that leaves too few on a side.

    A defect stays on its side in every rebuild.
    """
    defects = [sample for sample in dataset.test if not sample.is_good]
    half = [sample for sample in defects if _digest(Path(sample.name).stem) % 2]
    return half if LEAST <= len(half) <= len(defects) - LEAST else defects


def _digest(name: str) -> int:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[0]


def _config(old: Bundle, data: str, out: Path, changes: Mapping[str, Any]) -> BuildConfig:
    """The settings of the old build, with its images where they are now."""
    said = old.manifest.provenance.get("config")
    if not isinstance(said, dict):
        raise UsageError(f"{old.path} does not say how it was built: build anew with `edgead build`")
    limits = dict.fromkeys(("budget", "epochs", "steps")) if {"budget", "epochs", "steps"} & changes.keys() else {}
    settings = {**said, **limits, **changes, "out": str(out), "program": "", "data": data or said.get("data", "")}
    known = {
        name: value for name, value in settings.items() if value is not None and name in BuildConfig.__struct_fields__
    }
    try:
        return msgspec.convert(known, BuildConfig, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"the settings of {old.path} cannot be used: {error}") from error


def link_data(dataset: Dataset, reviewed: list[Reviewed], folder: Path) -> Dataset:
    """The data set with what was reviewed, as links in MVTec's layout in `folder`, which is made anew.

    Raises UsageError for a folder that holds something else.
    """
    if folder.exists():
        _remove_links(folder)
    for sample in (*dataset.train, *dataset.validation):
        _link(sample.path, folder / "train/good" / _flat(sample.name))
    for sample in dataset.test:
        target = folder / "test" / sample.label / _flat(sample.name)
        _link(sample.path, target)
        if len(sample.masks) == 1:
            (mask,) = sample.masks
            _link(mask, folder / "ground_truth" / sample.label / f"{target.stem}_mask{mask.suffix}")
    for one in reviewed:
        if one.decision == "good":
            _link(frame_file(one.path), folder / ("test" if one.for_test else "train") / "good" / _file(one))
        elif one.decision == "defect":
            kind = one.kind or NO_KIND
            _link(frame_file(one.path), folder / "test" / kind / _file(one))
            if one.regions:
                write_file(folder / "ground_truth" / kind / f"{Path(_file(one)).stem}_mask.png", mask_of(one))
    return open_dataset(folder)


def _file(one: Reviewed) -> str:
    return f"{REVIEWED}{one.name.replace('.', '_')}{frame_file(one.path).suffix}"


def _flat(name: str) -> str:
    """A sample's name as one file's."""
    return name.replace("/", "_")


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(path.resolve())


def _remove_links(folder: Path) -> None:
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(place, name)
            if not path.is_symlink() and not name.endswith("_mask.png"):
                raise UsageError(
                    f"{folder} holds {path.name}, which no rebuild put there: move it, or give another --out"
                )
            path.unlink()
        Path(place).rmdir()


def _random_frames(reviewed: list[Reviewed], old: Bundle) -> list[Any]:
    """The good parts that were kept at random; raises UsageError where there is none."""
    drawn = [one for one in reviewed if one.decision == "good" and one.kept_for.startswith(RANDOM)]
    if not drawn:
        raise UsageError(
            "no good part was kept at random (keep:saved?good=0.001), and others would shift the thresholds"
        )
    return [read_image(frame_file(one.path), bits=old.manifest.input.bits) for one in drawn]


def _with_least_cost(new: Bundle, defects: list[Sample], costs: Costs, reporter: Reporter) -> Bundle:
    """The bundle with the image threshold at which misses and false alarms cost least."""
    with Detector(new, precision="fp32", threads=1) as detector:
        scores = [detector.read(read_image(one.path, bits=new.manifest.input.bits)).score for one in defects]
    best = operating_points(new.manifest, costs, scores).cheapest
    why = f"least cost with {len(scores)} labeled defects: a miss {costs.miss:g}, a false alarm {costs.alarm:g}"
    reporter.say(f"image threshold {best.score:.6g}: {why}; {best.false_alarms:.2%} false alarms expected")
    assert new.path is not None  # a build has written it
    return write_bundle(new.path, choose_score(new, best.score, None, "edgead rebuild", why), new.members())


def _compare(old: Bundle, new: Bundle, samples: tuple[Sample, ...], have_chosen: Set[str]) -> Iterator[Compared]:
    """Both on the same images, which neither has learned from; `have_chosen` are names of defects."""
    if not samples:
        raise DataError("there is no image to compare the bundles on: label defects and more good parts")
    with Detector(old, threads=1) as one, Detector(new, threads=1) as other:
        for sample in samples:
            image = read_image(sample.path, bits=new.manifest.input.bits)
            yield Compared(sample, one(image).score, other(image).score, sample.name in have_chosen)


def rates(compared: tuple[Compared, ...]) -> list[list[str]]:
    """False alarms, and defects found by kind, old beside new, as the rows of a table."""
    rows = []
    groups = dict.fromkeys((one.sample.label, one.has_chosen) for one in compared)
    for label, has_chosen in sorted(groups, key=lambda group: group[1]):  # those that chose come last
        mine = [one for one in compared if (one.sample.label, one.has_chosen) == (label, has_chosen)]
        refused = [
            sum(score > 1 for score in scores) for scores in zip(*((one.old, one.new) for one in mine), strict=True)
        ]
        name = "false alarms" if mine[0].sample.is_good else f"found: {label}{', which chose' if has_chosen else ''}"
        rows.append([name, *(f"{count} of {len(mine)}" for count in refused)])
    return rows


def _chosen_by(new: Bundle, compared: tuple[Compared, ...], *, by_cost: bool) -> str:
    """What to know of the defects in the table."""
    weights = new.manifest.provenance.get("map_weights")
    what = ["the threshold"] if by_cost else []
    if weights is not None:
        factors = ", ".join(f"{name} {factor:g} times" for name, factor in weights["factors"].items())
        what.append(f"what each map counts ({factors})")
    chose = sum(one.has_chosen for one in compared)
    if not chose or not what:
        return ""
    kept = sum(not one.sample.is_good and not one.has_chosen for one in compared)
    end = f"the {kept} others were kept from it and tell what to expect" if kept else "others will be found less often"
    return f"<p>{chose} defects have chosen {html.escape(' and '.join(what))}: {end}.</p>"


def rebuild_page(old: Bundle, new: Bundle, compared: tuple[Compared, ...], *, by_cost: bool) -> str:
    """The page of a rebuild: figures of both on the same images, and what changed its verdict and by how much.

    `by_cost`: defects have chosen the threshold.
    """
    head = ["on the same images", f"old {old.digest[:12]}", f"new {new.digest[:12]}"]
    changed = sorted((one for one in compared if one.changed), key=lambda one: -abs(one.new - one.old))
    rows = [[one.sample.name, one.sample.label, f"{one.old:.2f}", f"{one.new:.2f}", f"{one.new - one.old:+.2f}"]
            for one in changed]  # fmt: skip
    with Detector(new, threads=1) as detector:
        pictures = tuple(
            picture_of(
                detector,
                read_image(one.sample.path, bits=new.manifest.input.bits),
                f"{one.sample.label}: {one.old:.2f} → {one.new:.2f}",
                one.sample,
            )
            for one in changed[:SHOWN]
        )
    listed = table(["image", "label", "old score", "new score", "change"], rows) if rows else "<p>None.</p>"
    shown = [Section("", gallery(Gallery("As the new bundle sees them", len(changed), pictures)))] if pictures else []
    return page(
        f"{new.manifest.name}: old against new",
        [
            Section("", table(head, rates(compared)) + _chosen_by(new, compared, by_cost=by_cost)),
            Section(f"Another verdict: {len(changed)} of {len(compared)}", listed),
            *shown,
        ],
    )
