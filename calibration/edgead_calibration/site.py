"""Reads good parts and known defects of a site from any source, and refits a bundle to them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from edgead import Bundle, Detector
from edgead.bundle import Manifest
from edgead.errors import UsageError
from edgead.files import write_file
from edgead.stream.cameras import grab_frames
from edgead.stream.sources import described
from edgead.types import Frame, ImageU8
from edgead.wording import are, plural, printable
from edgead_calibration.good_images import GoodImages, moved_in_words
from edgead_calibration.object_bank import Grown, grow, look_at
from edgead_calibration.operating_point import Costs, OperatingPoint, operating_points
from edgead_calibration.refit import refit_images
from edgead_calibration.threshold_page import threshold_page


def read_frames(source: str, bits: int, count: int | None = None) -> Iterator[Frame]:
    """The frames of a source that ends, or the first `count` of one that is live; raises UsageError where it would
    never end."""
    with grab_frames(source, bits=bits) as frames:
        if frames.live and count is None:
            raise UsageError(f"{source} has no end to fit to: give it as --camera, or record good parts first")
        yield from itertools.islice(frames, count)


def refit_site(
    bundle: Bundle, source: str, count: int | None, rate: float | None, who: str, say: Callable[[str], None]
) -> Manifest:
    """The bundle's manifest with thresholds and health profile of the good parts that a source shows.

    `count` is how many frames are taken of a live one; `rate` is that of the bundle where it is None; `say` gets what a
    person should know of the images and of the new thresholds, also where an error ends it. For what is raised see
    `refit_images`.
    """
    old, check = bundle.manifest, GoodImages()
    rate = old.artifacts[0].thresholds.false_alarm_rate if rate is None else rate
    frames = read_frames(source, old.input.bits, count)
    try:
        new = refit_images(bundle, check.taken(frames), rate, who, described(source), check)
    finally:
        for sentence in check.findings(old.health):
            say(sentence)
    for sentence in refit_findings(old, new):
        say(sentence)
    return new


def grow_bank(bundle: Bundle, source: str, most: int | None, who: str, say: Callable[[str], None]) -> Grown:
    """The bundle with the good images of a source in its bank (`object_bank.grow`); one image of each part is taken.

    `say` gets what a person should know of the images. Raises what `look_at` and `grow` raise.
    """
    check, old = GoodImages(), bundle.manifest

    def different() -> Iterator[tuple[str, ImageU8]]:
        seen: set[int] = set()
        for image in check.taken(read_frames(source, old.input.bits)):
            if (number := check.parts.numbers[-1]) not in seen:
                seen.add(number)
                yield printable(Path(check.names[-1]).name), image

    try:
        new = look_at(bundle, different())
    finally:
        for sentence in check.findings(old.health):
            say(sentence)
    if new.known:
        say(f"{plural(len(new.known), 'image')} {are(len(new.known))} in the bank already")
    grown = grow(bundle, new, most, who, described(source))
    if grown.odd:
        say(
            f"{plural(len(grown.odd), 'image')} of {len(new.names)} show another number of objects than "
            f"{_usual_number(bundle)}: they set thresholds and are matched with nothing"
        )
    for sentence in refit_findings(old, grown.bundle.manifest):
        say(sentence)
    return grown


def _usual_number(bundle: Bundle) -> int:
    spec = bundle.manifest.fusion.matching
    return 0 if spec is None else spec.proposals.count


def refit_findings(old: Manifest, new: Manifest) -> Iterator[str]:
    """What a person should know of new thresholds, in sentences."""
    entry = new.provenance["thresholds"][-1]
    for left in entry.get("left", []):
        yield f"{left} keeps its thresholds: its engine is not on this machine"
    for name in entry.get("not_counted", []):
        yield f"{name} is much stranger than the other good images and is not counted: is it a good part?"
    pairs = [
        pair for pair in zip(old.artifacts, new.artifacts, strict=True) if pair[0].thresholds != pair[1].thresholds
    ]
    yield from filter(None, {moved_in_words(b.good_scores, a.thresholds, b.thresholds) for a, b in pairs})


def write_operating_points(page: Path, bundle: Bundle, costs: Costs, defects: Path | None) -> OperatingPoint:
    """Write the page on which a threshold is chosen by costs, and return the point of least cost.

    Images of known `defects` are read through the FP32 network. Raises UsageError for a file that is no page.
    """
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{page} would be overwritten: give the page a name that ends in .html")
    labeled: list[float] = []
    if defects is not None:
        with Detector(bundle, precision="fp32") as detector:
            frames = read_frames(str(defects), bundle.manifest.input.bits)
            labeled = [detector.read(frame.image).score for frame in frames]
    points = operating_points(bundle.manifest, costs, labeled)
    name = bundle.path.name if bundle.path else "BUNDLE"
    write_file(page, threshold_page(bundle.manifest, name, points).encode())
    return points.cheapest
