"""Defines `edgead compile`: a bundle's TensorRT engines, built before a run needs them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated

import typer

from edgead.bundle import Bundle
from edgead.cli.derive import typer_option
from edgead.cli.options import FIELDS, BundlePath, Device, Json, Precision, out_option
from edgead.registry import Lazy

TORCH_TENSORRT = Lazy("edgead_tools.export.serialize:engine_builder", extra="torch-tensorrt")


def compile_(
    bundle: BundlePath,
    precision: Annotated[
        list[Precision] | None,
        typer_option(FIELDS["precision"], help="Only this one; repeatable.  [default: all for TensorRT]", several=True),
    ] = None,
    target: Annotated[
        str, typer.Option(help="The GPU here, or one like sm_89, ahead of time by TensorRT for RTX.")
    ] = "auto",
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, max=32, help="Frames judged at once; repeatable.  [default: the bundle's]"),
    ] = None,
    dla: Annotated[bool, typer.Option("--dla", help="On the deep-learning accelerator of a Jetson Orin.")] = False,
    via: Annotated[str, typer.Option(help="How the engine is built: onnx, or torch-tensorrt.")] = "onnx",
    program: Annotated[
        Path | None, typer.Option(help="For torch-tensorrt: what `edgead build --program FILE` wrote.")
    ] = None,
    out: Annotated[Path | None, out_option("Folder for engines of another machine.  [default: engines]")] = None,
    device: Device = 0,
    as_json: Json = False,
) -> None:
    """Build a bundle's TensorRT engines, prove them, and keep them for `edgead run`.

    A run builds what it lacks by itself; this does it beforehand, in every precision, and what is chosen here (--batch,
    --dla, --via) a run takes too. Engines for another machine (--target) are copied into edgead/engines of its cache.

    \b
    edgead compile part.edgead
    edgead compile part.edgead --target sm_86 --out engines
    """
    from edgead.engines import load_engine
    from edgead.errors import EngineError, UsageError
    from edgead.progress import ConsoleReporter
    from edgead.tensorrt.cache import engine_summary
    from edgead.tensorrt.compile import ENGINE, VIA, Wanted, compile_bundle
    from edgead.tensorrt.metadata import BuildOptions

    def prove(bundle: Bundle, precision: str) -> None:
        load_engine(bundle, ENGINE, precision, device=device).close()

    precisions = tuple(one.value for one in precision or () if one is not Precision.auto)
    if via not in VIA or (program is None) != (via == VIA[0]):
        raise UsageError("--via is onnx, or torch-tensorrt together with --program FILE")
    choice = BuildOptions(tuple(sorted(set(batch or ()))), dla, via)
    make = None if program is None else functools.partial(TORCH_TENSORRT.load("--via torch-tensorrt"), program)
    faults = []
    for one in compile_bundle(bundle, Wanted(precisions, target, choice, out, make, device), prove, ConsoleReporter()):
        if as_json:
            products = {} if one.metadata is None else one.metadata.products
            typer.echo(json.dumps({
                "precision": one.precision, "engine": str(one.path or ""), "products": products, "fault": one.fault,
            }))  # fmt: skip
        elif one.metadata is not None:
            typer.echo(f"{one.path}: {engine_summary(one.metadata)}")
        faults += [f"{one.precision}: {one.fault}"] if one.fault else []
    if faults:
        raise EngineError("; ".join(faults))
