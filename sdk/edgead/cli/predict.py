"""Implements `edgead predict`: judge image files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edgead.bundle import HealthProfile
from edgead.cli.console_status import Reasons
from edgead.cli.derive import typer_option
from edgead.cli.options import (
    FIELDS,
    BundlePath,
    Device,
    EngineName,
    Json,
    Parquet,
    Precision,
    PrecisionName,
    RayAddress,
    Threads,
    Workers,
    shown,
)
from edgead.errors import DataError, UsageError
from edgead.registry import Lazy
from edgead.result import Result
from edgead.stream.health import health_issues, likely_causes, measure
from edgead.stream.sinks.base import Sink
from edgead.types import Frame, Verdict
from edgead.wording import plural

ANOMALY_FOUND = 10


def predict(
    bundle: BundlePath,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES", help="Files, folders or quoted globs.")],
    as_json: Json = False,
    save: Annotated[Path | None, typer_option(FIELDS["save"])] = None,
    fail_on_anomaly: Annotated[
        bool, typer.Option("--fail-on-anomaly", help="Exit with 10 when any image is NG.")
    ] = False,
    engine: EngineName = "auto",
    precision: PrecisionName = Precision.auto,
    threads: Threads = 0,
    device: Device = 0,
    parquet: Parquet = "",
    workers: Workers = 0,
    ray: RayAddress = "",
) -> None:
    """Judge image files, one line each.

    An image that cannot be read is reported and passed over; the exit code is then 1. With --parquet, IMAGES is one
    folder, or a URL of object storage, of any size; a run that was stopped goes on.

    \b
    edgead predict part.edgead parts/new
    edgead predict part.edgead a.png b.png --json
    edgead predict part.edgead parts/new --save seen --fail-on-anomaly
    """
    if parquet:
        _judge_archive(bundle, images, parquet, engine, precision, workers, ray)
        return
    from edgead.detector import Detector
    from edgead.stream.pipeline import run
    from edgead.stream.sinks import open_sink
    from edgead.stream.sinks.jsonl import JsonLines
    from edgead.stream.sources.images import ImageSource, find_images

    paths = [path for name in images for path in find_images(name)]
    with Detector(bundle, engine=engine, precision=precision.value, threads=threads, device=device) as detector:
        sinks: list[Sink] = [JsonLines() if as_json else Lines()]
        if save is not None:
            sinks.append(open_sink("images", save))
        health = HealthReport(detector.bundle.manifest.health)
        status = run(ImageSource(paths, detector.bundle.manifest.input.bits), detector, [*sinks, health])
    for sentence in health.reasons.sentences():
        typer.echo(f"edgead: {shown(sentence)}", err=True)
    if status.unreadable:
        raise DataError(f"{status.unreadable} of {len(paths)} images could not be read and were not judged")
    if unwritten := sum(status.unwritten.values()):
        raise DataError(f"{unwritten} results could not be written")
    if status.verdicts[Verdict.NG] and fail_on_anomaly:
        raise typer.Exit(ANOMALY_FOUND)


def _judge_archive(
    bundle: Path, images: list[str], out: str, engine: str, precision: Precision, workers: int, address: str
) -> None:
    archive = Lazy("edgead_tools.distributed.archive:run_archive", extra="ray").load("--parquet")
    if len(images) != 1:
        raise UsageError("--parquet takes one folder or URL of images")
    typer.echo(archive(bundle, images[0], out, engine=engine, precision=precision.value, workers=workers, ray=address))


class HealthReport(Sink):
    """Notes what a line would say of the pictures themselves: their size, light and focus beside good parts'."""

    def __init__(self, profile: HealthProfile | None) -> None:
        self.reasons = Reasons()
        self._profile = profile

    def emit(self, frame: Frame, result: Result) -> None:
        if self._profile is None:
            return
        stats = measure(frame.image)
        if issues := health_issues(stats, self._profile):
            words = tuple(f"on a line, by the camera's health: {one}" for one in issues)
            self.reasons.add(replace(result, verdict=Verdict.INVALID, reasons=words))
        elif result.is_anomalous:
            self.reasons.add(replace(result, reasons=tuple(likely_causes(stats, self._profile))))

    def close(self) -> None:
        pass


class Lines(Sink):
    """A sink for people: verdict, score, regions and name of each image on standard output."""

    title = "standard output"

    def emit(self, frame: Frame, result: Result) -> None:
        color = typer.colors.RED if result.is_anomalous else typer.colors.GREEN
        verdict = f"{result.verdict:<2}"
        if "NO_COLOR" not in os.environ:
            verdict = typer.style(verdict, fg=color, bold=True)
        regions = plural(len(result.regions), "region")
        typer.echo(f"{verdict}  {result.score:8.3f}  {regions:<11}  {shown(frame.name)}")

    def close(self) -> None:
        pass
