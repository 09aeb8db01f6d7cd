"""Defines the commands `calibrate` and `threshold`."""

from __future__ import annotations

import getpass
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from edgead.bundle import Manifest
from edgead.cli.options import BundlePath, finite, shown
from edgead.types import Frame

Rate = Annotated[
    float | None,
    typer.Option(min=0, max=0.5, callback=finite, help="Share of good parts that may be refused, such as 0.01."),
]
Out = Annotated[Path | None, typer.Option(help="Write here and leave BUNDLE as it is.")]
By = Annotated[str, typer.Option("--by", help="Who does it, for the bundle's history.  [default: the login name]")]


def threshold(bundle: BundlePath, false_alarm_rate: Rate = None, out: Out = None, by: By = "") -> None:
    """Show a bundle's thresholds, or set them for another false-alarm rate from the scores kept in it.

    `edgead calibrate` fits them to new images. A change is written to BUNDLE itself where no --out is given.
    """
    from edgead import Bundle
    from edgead.bundle.store import check_target, write_bundle
    from edgead.errors import UsageError
    from edgead_calibration.refit import refit_rate

    opened, old = Bundle.open(bundle), None
    if false_alarm_rate is not None:
        check_target(out or bundle)
        manifest, old = refit_rate(opened, false_alarm_rate, by or _login()), opened.manifest
        opened = write_bundle(out or bundle, manifest, opened.members())
    elif out is not None:
        raise UsageError(f"nothing to write to {out}: say which rate to set with --false-alarm-rate")
    _show(opened.manifest, old)


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
    _show(write_bundle(out or bundle, manifest, opened.members()).manifest, opened.manifest)


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


def _show(manifest: Manifest, old: Manifest | None = None) -> None:
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
