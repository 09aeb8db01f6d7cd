"""Defines `edgead export`: a bundle for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgead.cli.options import BundlePath, Precision, PrecisionName


def export(
    bundle: BundlePath,
    onnx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one self-contained ONNX graph.", show_default=False)
    ] = None,
    triton: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write it into this model repository.", show_default=False)
    ] = None,
    precision: PrecisionName = Precision.auto,
    frame: Annotated[
        str,
        typer.Option(metavar="WxH", help="Size of the camera's frames.  [default: the network's input; you resize]"),
    ] = "",
    platform: Annotated[
        str, typer.Option(help="For Triton, what runs the network: onnx, tensorrt or python.")
    ] = "onnx",
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE.engine", help="For tensorrt: an engine of `edgead compile`.")
    ] = None,
    instances: Annotated[int, typer.Option(min=1, max=64, help="For Triton: frames prepared beside one another.")] = 2,
    batch: Annotated[int, typer.Option(min=1, max=32, help="For Triton: most frames of one run.")] = 8,
    gpu: Annotated[bool, typer.Option("--gpu", help="For Triton: ONNX Runtime on the GPU.")] = False,
) -> None:
    """Write a bundle for other runtimes: one ONNX graph from a frame to its score, or models for Triton.

    \b
    edgead export part.edgead --onnx part.onnx
    edgead export part.edgead --onnx part.onnx --frame 1920x1080
    edgead export part.edgead --triton models/
    """
    from edgead import Bundle
    from edgead.errors import UsageError
    from edgead_tools.export.standalone import export_onnx, parse_frame
    from edgead_tools.export.triton import TritonOptions, export_triton

    if (onnx is None) == (triton is None):
        raise UsageError("say what to write: --onnx FILE or --triton DIR")
    if triton is not None:
        options = TritonOptions(platform, precision.value, plan, instances, batch, gpu)
        typer.echo(f"{triton / export_triton(Bundle.open(bundle), triton, options)}: ask it for 'image'")
        return
    assert onnx is not None
    if onnx.exists() and onnx.suffix.lower() != ".onnx":
        raise UsageError(f"{onnx} would be overwritten: end the name in .onnx")
    size = parse_frame(frame) if frame else None
    error = export_onnx(Bundle.open(bundle), onnx, precision=precision.value, frame_size=size)
    typer.echo(f"{onnx}: differs from the bundle by at most {error:.2g} of the way to the threshold")
