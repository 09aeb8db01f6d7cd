"""Defines `edgead eval`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgead.cli.options import EngineName, Json, Parquet, Precision, PrecisionName, RayAddress, Workers

if TYPE_CHECKING:
    from edgead_tools.evaluation.entries import BenchmarkEntry


def evaluate(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLES DATA [BAD]",
            help="One or more .edgead files, and the images: a data set or a YAML file of its folders, a folder of "
            "several (categories), a folder of good images, or one of good and one of bad ones.",
        ),
    ],
    precision: PrecisionName = Precision.auto,
    every_precision: Annotated[
        bool, typer.Option("--every-precision", help="Measure each precision in the bundles, side by side.")
    ] = False,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="Pixel figures at the images' size, not the network's.")
    ] = False,
    engine: EngineName = "auto",
    as_json: Json = False,
    report: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML page.")] = None,
    parquet: Parquet = "",
    workers: Workers = 0,
    ray: RayAddress = "",
) -> None:
    """Measure bundles on labeled images, and compare them.

    \b
    edgead eval part.edgead good/ bad/
    edgead eval part.edgead dataset/ --report page.html
    edgead eval one.edgead other.edgead dataset/
    edgead eval part.edgead archive/ --parquet judged/

    Layouts are those of `edgead build`: train/good and test/<defect>, ok/ and ng/, a plain folder (all good). On a
    folder of categories each bundle is measured on the one that has its file name. Images that cannot be read are named
    and left out. With --parquet, DATA is one archive or URL of any size, in folders good and <defect>; a run that was
    stopped goes on.
    """
    if parquet:
        refused = {"--every-precision": every_precision, "--full-size": full_size, "--report": report}
        _measure_archive(paths, parquet, refused, as_json, engine, precision, workers, ray)
        return
    from edgead.errors import UsageError
    from edgead.ops.everything import lend
    from edgead.progress import ConsoleReporter
    from edgead_tools.components.lent_sam import sam_lender
    from edgead_tools.evaluation.entries import means, measure, split_paths
    from edgead_tools.evaluation.report import write_report

    if report is not None and report.exists() and report.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{report} is no page and would be overwritten: end the name in .html")
    bundles, data, bad = split_paths([Path(path) for path in paths])
    with lend(sam_lender()):
        entries = measure(
            bundles, data, ConsoleReporter(), bad=bad, engine=engine, precision=precision.value,
            every_precision=every_precision, full_size=full_size, galleries=report is not None,
        )  # fmt: skip
    averages = means(entries)
    if report is not None:
        title = f"{entries[0].model} on {data.name}" if len(entries) == 1 else f"Compared on {data.name}"
        write_report(report, entries, averages=averages, title=title, notes=[f"Data set: {data}"])
    _print(entries, averages, as_json=as_json)


def _print(entries: Sequence[BenchmarkEntry], averages: dict[str, dict[str, float | None]], *, as_json: bool) -> None:
    from edgead.cli.table import aligned
    from edgead_tools.evaluation.report.text import comparison, details, kinds

    if as_json:
        for one in entries:
            typer.echo(json.dumps(one.to_dict()))
        for model, figures in averages.items():
            typer.echo(json.dumps({"model": model, "category": "mean", **figures}))
        return
    tables = [details(entries[0]), kinds(entries[0])] if len(entries) == 1 else [comparison(entries, averages)]
    for rows in filter(None, tables):
        typer.echo(aligned(rows))


def _measure_archive(
    paths: list[str], out: str, refused: Mapping[str, object], as_json: bool, engine: str, precision: Precision,
    workers: int, address: str,
) -> None:  # fmt: skip
    """Measure a bundle on an archive, and print the figures."""
    from edgead.cli.table import aligned
    from edgead.errors import UsageError
    from edgead.registry import Lazy

    if given := [name for name, value in refused.items() if value]:
        raise UsageError(f"--parquet measures whole images in one precision: leave out {', '.join(given)}")
    measure = Lazy("edgead_tools.distributed.measure:run_measure", extra="ray").load("--parquet")
    found = measure(paths, out, engine=engine, precision=precision.value, workers=workers, ray=address)
    typer.echo(json.dumps(found.to_dict()) if as_json else aligned(found.rows()))
