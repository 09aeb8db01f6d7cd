"""Defines the workstation's commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from edgead.cli.derive import options_of, typer_option
from edgead.cli.options import (
    BUILD,
    FIELDS,
    BundlePath,
    Json,
    Precision,
    RayAddress,
    Seed,
    ShowResolved,
    Workers,
    out_option,
)
from edgead.config import BuildConfig, load_build
from edgead.config.loader import validated
from edgead.errors import UsageError

Fresh = Annotated[bool, typer.Option("--fresh", help="Forget an unfinished build and start over.")]
Finish = Annotated[bool, typer.Option("--finish", help="Take an unfinished training as far as it came.")]


@options_of(BuildConfig)
def build(
    folder: Annotated[
        str | None, typer.Argument(metavar="FOLDER", help="The same as --data.", show_default=False)
    ] = None,
    *,
    given: dict[str, Any],
    config: Annotated[Path | None, typer.Option(help="YAML file with any of these.  [default: edgead.yaml]")] = None,
    resolved: ShowResolved = False,
    fresh: Fresh = False,
    finish: Finish = False,
    many: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file of many products; --out is then a folder.")
    ] = None,
    workers: Workers = 0,
    ray: RayAddress = "",
) -> None:
    """Learn what good parts look like and write one verified file, the bundle.

    \b
    edgead build --data parts/good
    edgead build --data parts/good --budget 0 --out part.edgead
    edgead build --method csad --data parts/mvtec_like --size 512x256 --recipe cpu
    """
    if folder is not None:
        if "data" in given:
            raise UsageError(f"name one folder of images: {folder}, or that of --data")
        given = {**given, "data": folder}
    if many is not None:
        typer.echo(_build_many(many, given, workers, ray))
        return
    settings = load_build(config, given)
    if resolved:
        from edgead.cli.resolved import resolved_lines

        for line in resolved_lines(settings):
            typer.echo(line)
        return
    from edgead.progress import ConsoleReporter
    from edgead_tools.pipeline.build import build as run_build

    built = run_build(settings.config, ConsoleReporter(), fresh=fresh, finish=finish)
    typer.echo(built.bundle.path)


def rebuild(
    bundle: BundlePath,
    saved: Annotated[Path, typer.Option("--with", metavar="FOLDER", help="Saved events with labels.")],
    out: Annotated[Path | None, out_option("The bundle to write.  [default: <bundle>-new.edgead]")] = None,
    data: Annotated[str, typer.Option(help="The images it was built from, where they are elsewhere now.")] = "",
    budget: Annotated[str | None, typer_option(BUILD["budget"])] = None,
    refit: Annotated[bool, typer.Option("--refit", help="Train nothing: fit the thresholds anew.")] = False,
    cost_miss: Annotated[float, typer.Option(min=0, max=1e12, help="Of a defective part that passes.")] = 200.0,
    cost_alarm: Annotated[float, typer.Option(min=0, max=1e12, help="Of a good part that is refused.")] = 1.0,
    keep_rate: Annotated[
        bool, typer.Option("--keep-rate", help="Leave the threshold where good parts put it, also with defects.")
    ] = False,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Leave what each map counts as it is, also with defects.")
    ] = False,
) -> None:
    """Build a bundle again with what people said of saved frames, and compare old and new.

    \b
    edgead rebuild bottle.edgead --with saved/
    edgead rebuild bottle.edgead --with saved/ --refit

    Reviewed good parts are learned from, one of five kept for the comparison. Defects are never learned from: the
    threshold is set where misses and false alarms cost least, and what each map counts by which sees the defects. A
    page shows both bundles on the same images.
    """
    from edgead import Bundle
    from edgead.bundle.store import check_target
    from edgead.cli.table import aligned
    from edgead.progress import ConsoleReporter
    from edgead_calibration.operating_point import Costs
    from edgead_tools.pipeline.rebuild import rates
    from edgead_tools.pipeline.rebuild import rebuild as run_rebuild

    target = out or bundle.with_name(f"{bundle.stem}-new.edgead")
    check_target(target)
    rebuilt = run_rebuild(
        Bundle.open(bundle), saved, target, ConsoleReporter(), data=data, refit=refit, weigh=not keep_weights,
        changes={} if budget is None else {"budget": budget}, costs=None if keep_rate else Costs(cost_miss, cost_alarm),
    )  # fmt: skip
    changed = sum(one.changed for one in rebuilt.compared)
    typer.echo(aligned([["", "old", "new"], *rates(rebuilt.compared)]))
    typer.echo(f"another verdict: {changed} of {len(rebuilt.compared)}; page: {rebuilt.page}")
    typer.echo(rebuilt.bundle.path)


def _build_many(many: Path, given: dict[str, Any], workers: int, address: str) -> Path:
    """Build the products of a file, and give the page."""
    from edgead.registry import Lazy

    if set(given) - {"out"}:
        raise UsageError("with --many the settings stand in its file, those of all products under `defaults:`")
    run = Lazy("edgead_tools.distributed.builds:run_products", extra="ray").load("--many")
    page: Path = run(many, Path(given.get("out") or "bundles"), workers=workers, ray=address)
    return page


def sweep(
    data: Annotated[Path, typer.Argument(help="A data set with labeled test images.")],
    budget: Annotated[
        str, typer_option(BUILD["budget"], help="Training time of all candidates together, such as 30m.")
    ] = "30m",
    method: Annotated[
        list[str] | None,
        typer_option(BUILD["method"], help="One to try; repeatable.  [default: all]", several=True),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer_option(BUILD["preset"], help="One to try; repeatable.  [default: edge]", several=True),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer_option(BUILD["size"], help="One to try; repeatable.  [default: 128, 192, 256]", several=True),
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, out_option("Folder for bundles, page and figures.  [default: <data>.sweep]")] = None,
    as_json: Json = False,
    workers: Workers = 0,
    ray: RayAddress = "",
) -> None:
    """Try methods, presets and sizes on a data set: a table, and a page with accuracy over latency.

    Ctrl-C leaves what is finished; the same command goes on. With --workers or --ray candidates train beside one
    another on Ray, and those that fall behind are stopped early.

    \b
    edgead sweep parts --budget 1h
    edgead sweep parts --method stlm --method csad --size 256 --size 384
    """
    from edgead.cli.table import aligned
    from edgead.config.build import parse_duration
    from edgead.progress import ConsoleReporter
    from edgead.registry import Lazy
    from edgead_tools.pipeline.sweep import PAGE, RESULT, SIZES, build_in_turn, list_candidates, rows_of
    from edgead_tools.pipeline.sweep import sweep as run_sweep

    folder = out or Path(f"{data.resolve().name}.sweep")
    candidates = list_candidates(method or (), preset or ("edge",), size or SIZES)
    build_all = build_in_turn
    if workers or ray:
        build_all = Lazy("edgead_tools.distributed.sweeps:on_ray", extra="ray").load("a sweep on Ray")(workers, ray)
    results = run_sweep(
        data, folder, candidates, parse_duration(budget), ConsoleReporter(), seed=seed, build_all=build_all
    )
    found = json.dumps(json.loads((folder / RESULT).read_text())) if as_json else ""
    typer.echo(found or f"{aligned(rows_of(results))}\npage: {folder / PAGE}")


def components(
    data: Annotated[Path, typer.Argument(help="Folder of good images, or of a data set.")],
    out: Annotated[Path, out_option("The page to write.")] = Path("components.html"),
    size: Annotated[str, typer_option(BUILD["size"], help="As in the build that is to follow.")] = "256",
    seed: Seed = 0,
    weights: Annotated[str, typer_option(BUILD["weights"])] = "",
    masks: Annotated[
        str, typer.Option(help="What to find them in: foreground, or SAM's masks: mobile-sam or sam-vit-h.")
    ] = "foreground",
    device: Annotated[str, typer_option(BUILD["device"], help="Where SAM looks: cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Find the components of good parts and write a page that shows them, before hours of training.

    What is wrong there can be drawn: components/STEM.png in the data set, or beside the images, holds the label map of
    image STEM (8-bit gray: 0 the background, 1 and up the components), components/names.txt a name a line. A handful of
    drawn images is enough; where there is one, nothing is searched for. Masks that another tool made of a dozen images
    or more are taken from folders instead: components/STEM/0.png and so on, white where the thing is; a build finds
    them there too. For SAM's masks give it `--set masks=mobile-sam`.

    \b
    edgead components parts/good
    """
    from edgead.progress import ConsoleReporter
    from edgead_tools.components.stage import write_components

    config = BuildConfig(data=str(data), size=size, seed=seed, weights=weights, device=device)
    found = write_components(validated(config), out, ConsoleReporter(), masks=masks)
    for name, share in zip(found.names, found.shares().mean(axis=0), strict=True):
        typer.echo(f"{name:<20} {share:.2%} of the image")
    typer.echo(f"page: {out}")


def quantize(
    bundle: BundlePath,
    data: Annotated[Path, typer.Option(help="The good images, or data set, it was built from; or others of the part.")],
    recipe: Annotated[str, typer_option(BUILD["recipe"], help="What for: cpu, jetson-orin, jetson-thor, rtx.")] = "cpu",
    precision: Annotated[
        list[Precision] | None,
        typer_option(FIELDS["precision"], help="Only int8 or fp16; repeatable.  [default: the recipe's]", several=True),
    ] = None,
    out: Annotated[Path | None, out_option("Write here and leave BUNDLE as it is.")] = None,
    as_json: Json = False,
) -> None:
    """Add networks of lower precision to a bundle, each tried beside FP32 and left out where it loses too much.

    Ranges are set by some of the images; thresholds are fitted to, and precisions compared on, others, and on
    anomalies planted in these. Given the images of the build, they are divided as in the build.

    \b
    edgead quantize part.edgead --data parts/good --recipe cpu
    """
    from edgead import Bundle
    from edgead.bundle.store import check_target, write_bundle
    from edgead.progress import ConsoleReporter
    from edgead_tools.pipeline.precisions import refill

    wanted = [one.value for one in precision or ()]
    if {"auto", "fp32"} & set(wanted):
        raise UsageError("--precision takes int8 and fp16 here: FP32 is what the others are made from")
    check_target(out or bundle)
    manifest, members, results = refill(Bundle.open(bundle), recipe, data, wanted, ConsoleReporter())
    write_bundle(out or bundle, manifest, members)
    for line in [msgspec.json.encode(result).decode() for result in results] if as_json else [str(out or bundle)]:
        typer.echo(line)


def demo(
    out: Annotated[Path, out_option("Folder for the images, the bundle and the page.")] = Path("edgead-demo"),
    budget: Annotated[str, typer_option(BUILD["budget"])] = "",
    steps: Annotated[int | None, typer_option(BUILD["steps"])] = None,
    seed: Seed = 0,
    fresh: Fresh = False,
    finish: Finish = False,
) -> None:
    """The whole job on real solar-cell images in two minutes: learn, train, judge unseen cells, write a page.

    \b
    edgead demo --budget 0 --out try
    """
    from edgead.progress import ConsoleReporter
    from edgead_tools.pipeline.demo import figures_in_words, run_demo

    shown = run_demo(out, ConsoleReporter(), budget=budget, steps=steps, seed=seed, fresh=fresh, finish=finish)
    typer.echo(f"page: {shown.page}")
    typer.echo(f"without training: {figures_in_words(shown.memory)}")
    if shown.built is not shown.memory:
        typer.echo(f"trained: {figures_in_words(shown.built)}")


weights = typer.Typer(
    help="Pretrained weights: what is known, what is here, how to get the rest.", no_args_is_help=True
)


@weights.command("list")
def list_weights() -> None:
    """Every named set of weights, and where it is on this machine.

    \b
    edgead weights list
    """
    from edgead_tools.backbones.weights import WEIGHTS, locate

    for name, entry in WEIGHTS.items():
        place = locate(name)
        where = f"{place.source}: {place.path}" if place else f"not here: {entry.command}"
        typer.echo(f"{name:<20} {entry.license.partition(';')[0]:<12} {where}")


@weights.command("get")
def get_weights(name: Annotated[str, typer.Argument(help="A name from `edgead weights list`.")]) -> None:
    """Download a set of weights into the cache, checked by digest; a broken download is resumed.

    \b
    edgead weights get wide_resnet50
    """
    from edgead.progress import ConsoleReporter
    from edgead_tools.backbones.weights import download

    with ConsoleReporter().stage(f"downloading {name}") as on_progress:
        file = download(name, on_progress=on_progress)
    typer.echo(file.path)
