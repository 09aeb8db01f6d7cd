"""Defines the commands `calibrate`, `add-normals` and `threshold`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgead.bundle import Manifest
from edgead.cli.derive import finite, typer_option
from edgead.cli.options import BUILD, BundlePath, out_option, shown

if TYPE_CHECKING:
    pass

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
Page = Annotated[Path | None, typer.Option(help="Write an HTML page on which the threshold is chosen by costs.")]
Defects = Annotated[
    Path | None, typer.Option(help="Images of known defects, for the page; they never change the false alarms.")
]
Out = Annotated[Path | None, out_option("Write here and leave BUNDLE as it is.")]
By = Annotated[str, typer.Option("--by", help="Who does it, for the bundle's history.  [default: the login name]")]


def threshold(
    bundle: BundlePath,
    false_alarm_rate: Rate = None,
    extrapolate: Extrapolate = False,
    score: Score = None,
    pixel: Pixel = None,
    why: Annotated[str, typer.Option(help="Why it is set, for the bundle's history.")] = "",
    page: Page = None,
    cost_miss: Annotated[
        float, typer.Option(min=0, max=1e12, callback=finite, help="Of a defective part that passes.")
    ] = 200.0,
    cost_alarm: Annotated[
        float, typer.Option(min=0, max=1e12, callback=finite, help="Of a good part that is refused.")
    ] = 1.0,
    defect_rate: Annotated[
        float, typer.Option(min=0, max=1, callback=finite, help="Share of parts that are defective.")
    ] = 0.002,
    defects: Defects = None,
    out: Out = None,
    by: By = "",
) -> None:
    """Show a bundle's thresholds, or set them: for another false-alarm rate, or to a score.

    A rate goes by the scores kept in the bundle; `edgead calibrate` fits them to new images. A change is written to
    BUNDLE itself where no --out is given, with who, when and why in its history.

    \b
    edgead threshold part.edgead --false-alarm-rate 0.001 --why "fewer stops"
    """
    from edgead import Bundle
    from edgead.bundle.store import check_target, write_bundle
    from edgead.errors import UsageError
    from edgead_calibration.operating_point import Costs
    from edgead_calibration.refit import choose_score, refit_rate
    from edgead_calibration.site import write_operating_points

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
        best = write_operating_points(page, opened, Costs(cost_miss, cost_alarm, defect_rate), defects)
        typer.echo(
            f"page: {page}; least cost at a score of {best.score:.6g}: "
            f"{best.false_alarms:.2%} false alarms expected, {best.cost:.3g} a part"
        )
    _print_thresholds(opened.manifest, old)


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

    \b
    edgead calibrate part.edgead --data parts/of_this_site
    edgead calibrate part.edgead --camera 0 --images 100 --out here.edgead
    """
    from edgead import Bundle
    from edgead.bundle.store import check_target, write_bundle
    from edgead.errors import UsageError
    from edgead_calibration.site import refit_site

    if (data is None) == (camera is None):
        raise UsageError("say where good parts are to be seen: --data FOLDER, or --camera 0")
    opened = Bundle.open(bundle)
    check_target(out or bundle)
    source, count = (str(data), None) if camera is None else (camera, images)
    manifest = refit_site(opened, source, count, false_alarm_rate, by or _login(), _say)
    _print_thresholds(write_bundle(out or bundle, manifest, opened.members()).manifest, opened.manifest)


def add_normals(
    bundle: BundlePath,
    data: Annotated[str, typer.Argument(metavar="DIR", help="Good images: a folder, a glob, a video.")],
    bank: Annotated[
        int | None, typer.Option(min=4, max=100_000, help="Images in the bank at most.  [default: its build's]")
    ] = None,
    out: Out = None,
    by: By = "",
) -> None:
    """Add good images to a bundle that matches objects: what they show is good from now on.

    The bank of good images grows, what is usual of every object and the thresholds are fitted anew, the golden readings
    are recorded anew, and the new bundle is verified. Only then it takes the place of the old one, which is kept as
    BUNDLE.old. Images of another product are refused.

    \b
    edgead add-normals trays.edgead new_good_trays/
    edgead add-normals trays.edgead new_good_trays/ --out grown.edgead
    """
    from edgead import Bundle
    from edgead.bundle.store import check_target, write_bundle
    from edgead_calibration.site import grow_bank

    opened = Bundle.open(bundle)
    check_target(out or bundle)
    grown = grow_bank(opened, data, bank, by or _login(), _say)
    written = write_bundle(out or bundle, grown.bundle.manifest, grown.bundle.members())
    typer.echo(f"bank: {grown.after} good images (until now {grown.before})")
    _print_thresholds(written.manifest, opened.manifest)


def _say(sentence: str) -> None:
    typer.echo(f"edgead: {shown(sentence)}", err=True)


def _print_thresholds(manifest: Manifest, old: Manifest | None = None) -> None:
    from edgead_calibration.thresholds import threshold_summary

    for index, artifact in enumerate(manifest.artifacts):
        only = f" on {artifact.engine}" if artifact.engine else ""
        before = "" if old is None else f" (until now {old.artifacts[index].thresholds.image:.6g})"
        typer.echo(f"{artifact.precision}{only}: score above {artifact.thresholds.image:.6g} is NG{before}")
        typer.echo(f"  {threshold_summary(artifact.thresholds)}")


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return ""
