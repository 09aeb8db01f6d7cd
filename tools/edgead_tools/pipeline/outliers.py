"""Good images whose scores are not like the others': listed, shown with their maps, and left out where asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgead import Bundle, Detector
from edgead.errors import UsageError
from edgead.files import read_whole, write_file
from edgead.listing import LeftOut
from edgead.ops import calibrate
from edgead.progress import Reporter
from edgead.types import ImageU8, MapF32
from edgead_calibration.thresholds import without_outliers
from edgead_tools.data import Dataset, Sample
from edgead_tools.evaluation.report.galleries import Gallery, picture_of
from edgead_tools.evaluation.report.page import Section, gallery, page
from edgead_tools.evaluation.report.plots import heat_scale
from edgead_tools.pipeline.good_scores import GoodScores
from edgead_tools.pipeline.images import BuildImages

MOST = 60  # pictures on a page


def outlier_records(good: GoodScores) -> list[dict[str, Any]]:
    """The outliers for the bundle's provenance, the strangest first."""
    found = without_outliers(good.scores, good.maxima, good.parts)[2]
    outliers = [*good.strange, *((good.samples[index], good.scores[index]) for index in found)]
    ranked = sorted(outliers, key=lambda one: -one[1])
    return [{"image": sample.name, "score": round(score, 4)} for sample, score in ranked]


def report_outliers(bundle: Bundle, images: BuildImages, maps: Mapping[str, MapF32], reporter: Reporter) -> None:
    """Say which good images are outliers and where they are shown (`write_outliers`)."""
    learned = {sample.name for sample in images.learned}
    if files := write_outliers(bundle, images.good, images.frame, maps, learned):
        for one in bundle.manifest.provenance["outliers"]:
            reporter.say(f"{one['image']} is much stranger than the other good images and is not counted")
        reporter.say(f"look at them in {files[1]}; leave out those that are no good parts with --exclude {files[0]}")


def write_outliers(
    bundle: Bundle,
    samples: Sequence[Sample],
    frame: Callable[[Sample], ImageU8],
    maps: Mapping[str, MapF32],
    learned: Collection[str],
) -> tuple[Path, Path] | None:
    """Beside the bundle the list of its outliers, ready for `edgead build --exclude`, and a page that shows them.

    `samples` are the good images of the build, and `frame` gives their pixels. `maps` are calibrated, out of fold, by
    name, in which an image is not judged by itself; those it lacks are the bundle's. `learned` are the names of images
    that the bundle learned from. Files of an earlier build are removed where there are none.
    """
    assert bundle.path is not None  # a build has written it
    listed, shown = (bundle.path.with_name(f"{bundle.path.name}.outliers{kind}") for kind in (".txt", ".html"))
    records = bundle.manifest.provenance.get("outliers", [])
    if not records:
        for path in (listed, shown):
            path.unlink(missing_ok=True)
        return None
    head = "# Good images with outlying scores. Delete the lines of good parts, then build again with --exclude.\n"
    write_file(listed, (head + "".join(f"{one['image']}\n" for one in records)).encode("utf-8", "surrogateescape"))
    by_name = {sample.name: sample for sample in samples}
    fitted = bundle.manifest.artifacts[0].thresholds
    pictures = []
    with Detector(bundle, threads=1) as detector:
        for name, score in ((one["image"], one["score"]) for one in records[:MOST]):
            image, seen = frame(by_name[name]), maps.get(name)
            if seen is None and bundle.manifest.fusion.components is None:  # with components an overlay has the objects
                seen = detector(image).grid_map
            caption = f"{name} · score {calibrate(score, fitted.image_center, fitted.image):.2f} · map "
            pictures.append(picture_of(detector, image, caption + _map_source(name, maps, learned), seen=seen))
    row = Gallery("Is this a good part?", len(records), tuple(pictures))
    text = (
        "<p>The scores of these images do not belong to the tail of the others', or only such images resemble them. "
        "They are not counted in the threshold, which is 1.0 here, and what they alone show is believed less. Take out "
        f"those that show no good part: keep their lines in <code>{listed.name}</code> and build again with "
        "<code>--exclude</code>. Where all show good parts, build with <code>--set doubts=no</code>: parts like them "
        "would be refused.</p>"
    )
    write_file(
        shown, page(f"{bundle.manifest.name}: outliers", [Section("", text + gallery(row) + heat_scale())]).encode()
    )
    return listed, shown


def _map_source(name: str, maps: Collection[str], learned: Collection[str]) -> str:
    """What an outlier's map was made by."""
    if name in maps:
        return "by memories and statistics without this image"
    if name in learned:
        return "by the bundle, which learned from this image: it may show too little"
    return "by the bundle, which did not learn from this image"


def exclude(dataset: Dataset, listed: str) -> Dataset:
    """The data set without the good images that a text file lists, which are among those that are left out; all of it
    without a file.

    A line is an image's name in the data set, its file name, or the end of its path; empty lines and what follows a #
    are passed over. Raises UsageError for a file that cannot be read and for a line that is no image of the set.
    """
    if not listed:
        return dataset
    file = Path(listed)
    try:
        lines = [
            line.partition("#")[0].strip() for line in read_whole(file).decode(errors="surrogateescape").splitlines()
        ]
    except OSError as error:
        raise UsageError(f"the list of images to exclude cannot be read: {error}") from error
    good = (*dataset.train, *dataset.validation)
    gone: set[Sample] = set()
    for line in filter(None, lines):
        found = [sample for sample in good if line == sample.name or _ends(sample.path, Path(line))]
        if not found:
            raise UsageError(f"{file} lists '{line}', which is no good image of {dataset.root}")
        gone.update(found)
    train, validation = (
        tuple(sample for sample in side if sample not in gone) for side in (dataset.train, dataset.validation)
    )
    left = tuple(LeftOut(sample.path, f"is listed in {file.name}") for sample in good if sample in gone)
    return dataclasses.replace(dataset, train=train, validation=validation, left=(*dataset.left, *left))


def _ends(path: Path, wanted: Path) -> bool:
    return path.parts[-len(wanted.parts) :] == wanted.parts
