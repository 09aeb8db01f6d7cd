"""The commands of this room, mounted on the `edgead` command line by entry points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from edgead.cli.options import BundlePath
from edgead.types import ImageU8


def threshold(
    bundle: BundlePath,
    false_alarm_rate: Annotated[
        float | None, typer.Option(help="Share of good parts that may be refused, such as 0.01.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Good images of this site (folder or glob) to fit the thresholds to.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write here and leave BUNDLE as it is.")] = None,
) -> None:
    """Show a bundle's thresholds, or refit them for another false-alarm rate or to this site's good images.

    A refit changes BUNDLE itself where no --out is given.
    """
    from edgead import Bundle
    from edgead.bundle.store import check_target, write_bundle
    from edgead.errors import UsageError
    from edgead_calibration.refit import refit_images, refit_rate
    from edgead_calibration.thresholds import describe

    opened = Bundle.open(bundle)
    if false_alarm_rate is None and data is None:
        if out is not None:
            raise UsageError(f"nothing to write to {out}: say what to fit with --false-alarm-rate or --data")
    else:
        check_target(out or bundle)
        rate = (
            opened.manifest.artifacts[0].thresholds.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
        )
        if data is None:
            manifest = refit_rate(opened, rate)
        else:
            manifest = refit_images(opened, lambda: _images(data, opened.manifest.input.bits), rate)
        opened = write_bundle(out or bundle, manifest, opened.members())
    for artifact in opened.manifest.artifacts:
        typer.echo(f"{artifact.precision}: score above {artifact.thresholds.image:.6g} is NG")
        typer.echo(f"  {describe(artifact.thresholds)}")


def _images(source: str, bits: int) -> Iterator[ImageU8]:
    from edgead.errors import UsageError
    from edgead.stream.sources import open_source

    with open_source(source, bits=bits) as frames:
        if frames.live:  # it would never end
            raise UsageError(f"{source} has no end to fit to: record good parts first, and give the folder or video")
        for frame in frames:
            yield frame.image
