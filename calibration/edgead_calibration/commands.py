"""The commands of this room, mounted on the `edgead` command line by entry points."""

from __future__ import annotations

import getpass
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from edgead.bundle import Manifest
from edgead.cli.options import BundlePath
from edgead.types import ImageU8

Rate = Annotated[float | None, typer.Option(help="Share of good parts that may be refused, such as 0.01.")]
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

    opened = Bundle.open(bundle)
    if false_alarm_rate is not None:
        check_target(out or bundle)
        manifest = refit_rate(opened, false_alarm_rate, by or _login())
        opened = write_bundle(out or bundle, manifest, opened.members())
    elif out is not None:
        raise UsageError(f"nothing to write to {out}: say which rate to set with --false-alarm-rate")
    _show(opened.manifest)


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
    from edgead_calibration.refit import refit_images

    if (data is None) == (camera is None):
        raise UsageError("say where good parts are to be seen: --data FOLDER, or --camera 0")
    source = str(data if camera is None else camera)
    opened = Bundle.open(bundle)
    check_target(out or bundle)
    artifacts = opened.manifest.artifacts
    rate = artifacts[0].thresholds.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
    frames = _frames(source, opened.manifest.input.bits, None if camera is None else images)
    manifest = refit_images(opened, frames, rate, by or _login(), described(source))
    for left in manifest.provenance["thresholds"][-1].get("left", []):
        typer.echo(f"edgead: {left} keeps its thresholds: its engine is not on this machine", err=True)
    _show(write_bundle(out or bundle, manifest, opened.members()).manifest)


def _show(manifest: Manifest) -> None:
    from edgead_calibration.thresholds import threshold_summary

    for artifact in manifest.artifacts:
        only = f" on {artifact.engine}" if artifact.engine else ""
        typer.echo(f"{artifact.precision}{only}: score above {artifact.thresholds.image:.6g} is NG")
        typer.echo(f"  {threshold_summary(artifact.thresholds)}")


def _frames(source: str, bits: int, count: int | None) -> Iterator[ImageU8]:
    """The frames of a source that ends, or the first `count` of one that is live."""
    from edgead.errors import UsageError
    from edgead.stream.cameras import grab_frames

    with grab_frames(source, bits=bits) as frames:
        if frames.live and count is None:  # it would never end
            raise UsageError(f"{source} has no end to fit to: give it as --camera, or record good parts first")
        for frame in itertools.islice(frames, count):
            yield frame.image


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return ""
