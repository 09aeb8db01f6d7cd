"""Defines the commands `calibrate` and `threshold`."""

from __future__ import annotations

import getpass
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgead.bundle import Manifest
from edgead.cli.derive import finite, typer_option
from edgead.cli.options import BUILD, BundlePath, shown
from edgead.types import Frame

if TYPE_CHECKING:
    from edgead import Bundle
    from edgead_calibration.operating_point import Costs

LARGEST = 1e30  # of a score, as a bundle may have it
Rate = Annotated[float | None, typer_option(BUILD["false_alarm_rate"])]
Extrapolate = Annotated[
    bool, typer.Option("--extrapolate", help="With --false-alarm-rate: one that good images are too few for.")
]
Score = Annotated[
    float | None,
    typer.Option(min=-LARGEST, max=LARGEST, callback=finite, help="Set the image threshold to this raw score."),
]
Pixel = Annotated[
    float | None,
    typer.Option(min=-LARGEST, max=LARGEST, callback=finite, help="With --score: the pixel threshold."),
]
Out = Annotated[Path | None, typer.Option(help="Write here and leave BUNDLE as it is.")]
By = Annotated[str, typer.Option("--by", help="Who does it, for the bundle's history.  [default: the login name]")]


def threshold(
    bundle: BundlePath,
    false_alarm_rate: Rate = None,
    extrapolate: Extrapolate = False,
    score: Score = None,
    pixel: Pixel = None,
    why: Annotated[str, typer.Option(help="Why it is set, for the bundle's history.")] = "",
    page: Annotated[
        Path | None, typer.Option(help="Write an HTML page on which the threshold is chosen by costs.")
    ] = None,
    cost_miss: Annotated[
        float, typer.Option(min=0, max=1e12, callback=finite, help="Of a defective part that passes.")
    ] = 200.0,
    cost_alarm: Annotated[
        float, typer.Option(min=0, max=1e12, callback=finite, help="Of a good part that is refused.")
    ] = 1.0,
    defect_rate: Annotated[
        float, typer.Option(min=0, max=1, callback=finite, help="Share of parts that are defective.")
    ] = 0.002,
    defects: Annotated[
        Path | None, typer.Option(help="Images of known defects, for the page; they never change the false alarms.")
    ] = None,
    out: Out = None,
    by: By = "",
) -> None:
    """Show a bundle's thresholds, or set them: for another false-alarm rate, or to a score.

    A rate goes by the scores kept in the bundle; `edgead calibrate` fits them to new images. A change is written to
    BUNDLE itself where no --out is given, with who, when and why in its history.
    """
    from edgead import Bundle
    from edgead.bundle.store import check_target, write_bundle
    from edgead.errors import UsageError
    from edgead_calibration.operating_point import Costs
    from edgead_calibration.refit import choose_score, refit_rate

    if score is not None and false_alarm_rate is not None:
        raise UsageError("give --score or --false-alarm-rate, not both")
    if score is None and (pixel is not None or why):
        raise UsageError("--pixel and --why belong to --score: say which score to set")
    if extrapolate and false_alarm_rate is None:
        raise UsageError("--extrapolate belongs to --false-alarm-rate: say which rate to set")
    opened, old = Bundle.open(bundle), None
    if false_alarm_rate is not None or score is not None:
        check_target(out or bundle)
        old = opened.manifest
        if score is not None:
            manifest = choose_score(opened, score, pixel, by or _login(), why)
        else:
            manifest = refit_rate(opened, false_alarm_rate or 0.0, by or _login(), extrapolate=extrapolate)
        opened = write_bundle(out or bundle, manifest, opened.members())
    elif out is not None:
        raise UsageError(f"nothing to write to {out}: say which rate to set with --false-alarm-rate")
    if page is not None:
        _write_page(page, opened, Costs(cost_miss, cost_alarm, defect_rate), defects)
    _print_thresholds(opened.manifest, old)


def _write_page(page: Path, bundle: Bundle, costs: Costs, defects: Path | None) -> None:
    """The page of the operating points; known defects are read through the FP32 network."""
    from edgead import Detector
    from edgead.errors import UsageError
    from edgead.files import write_file
    from edgead_calibration.operating_point import operating_points
    from edgead_calibration.threshold_page import threshold_page

    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{page} would be overwritten: give the page a name that ends in .html")
    labeled: list[float] = []
    if defects is not None:
        with Detector(bundle, precision="fp32") as detector:
            frames = _frames(str(defects), bundle.manifest.input.bits, None)
            labeled = [detector.read(frame.image).score for frame in frames]
    points = operating_points(bundle.manifest, costs, labeled)
    write_file(page, threshold_page(bundle.manifest, bundle.path.name if bundle.path else "BUNDLE", points).encode())
    best = points.cheapest
    typer.echo(
        f"page: {page}; least cost at a score of {best.score:.6g}: "
        f"{best.false_alarms:.2%} false alarms expected, {best.cost:.3g} a part"
    )


def calibrate(
    bundle: BundlePath,
    data: Annotated[str | None, typer.Option(help="Good images of this site: a folder, a glob, a video.")] = None,
    camera: Annotated[str | None, typer.Option(help="Take them from this camera or stream instead.")] = None,
    images: Annotated[int, typer.Option(min=3, max=10_000, help="How many frames to take from the camera.")] = 100,
    false_alarm_rate: Rate = None,
    out: Out = None,
    by: By = "",
) -> None:
    """Refit the thresholds and the camera's health profile to good parts of this site, in this light.

    Show the camera good parts alone. Who did it, when, and from what is kept in the bundle. It is written to BUNDLE
    itself where no --out is given.
    """
    from edgead import Bundle
    from edgead.bundle.store import check_target, write_bundle
    from edgead.errors import UsageError
    from edgead.stream.sources import described
    from edgead_calibration.good_images import GoodImages
    from edgead_calibration.refit import refit_images

    if (data is None) == (camera is None):
        raise UsageError("say where good parts are to be seen: --data FOLDER, or --camera 0")
    source = str(data if camera is None else camera)
    opened = Bundle.open(bundle)
    check_target(out or bundle)
    artifacts = opened.manifest.artifacts
    rate = artifacts[0].thresholds.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
    frames = _frames(source, opened.manifest.input.bits, None if camera is None else images)
    check = GoodImages()
    try:
        manifest = refit_images(opened, check.taken(frames), rate, by or _login(), described(source), check)
    finally:
        _say(check.findings(opened.manifest.health))
    _say(_of_the_fit(opened.manifest, manifest))
    _print_thresholds(write_bundle(out or bundle, manifest, opened.members()).manifest, opened.manifest)


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        typer.echo(f"edgead: {shown(sentence)}", err=True)


def _of_the_fit(old: Manifest, new: Manifest) -> Iterator[str]:
    """What a person should know of the new thresholds."""
    from edgead_calibration.good_images import moved_in_words

    entry = new.provenance["thresholds"][-1]
    for left in entry.get("left", []):
        yield f"{left} keeps its thresholds: its engine is not on this machine"
    for name in entry.get("not_counted", []):
        yield f"{name} is much stranger than the other good images and is not counted: is it a good part?"
    pairs = [
        pair for pair in zip(old.artifacts, new.artifacts, strict=True) if pair[0].thresholds != pair[1].thresholds
    ]
    yield from filter(None, {moved_in_words(b.good_scores, a.thresholds, b.thresholds) for a, b in pairs})


def _print_thresholds(manifest: Manifest, old: Manifest | None = None) -> None:
    from edgead_calibration.thresholds import threshold_summary

    for index, artifact in enumerate(manifest.artifacts):
        only = f" on {artifact.engine}" if artifact.engine else ""
        before = "" if old is None else f" (until now {old.artifacts[index].thresholds.image:.6g})"
        typer.echo(f"{artifact.precision}{only}: score above {artifact.thresholds.image:.6g} is NG{before}")
        typer.echo(f"  {threshold_summary(artifact.thresholds)}")


def _frames(source: str, bits: int, count: int | None) -> Iterator[Frame]:
    """The frames of a source that ends, or the first `count` of one that is live."""
    from edgead.errors import UsageError
    from edgead.stream.cameras import grab_frames

    with grab_frames(source, bits=bits) as frames:
        if frames.live and count is None:  # it would never end
            raise UsageError(f"{source} has no end to fit to: give it as --camera, or record good parts first")
        yield from itertools.islice(frames, count)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return ""
