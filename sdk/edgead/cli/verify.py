"""Implements `edgead verify`: whether this machine reproduces what the workstation measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgead.bundle import Bundle
from edgead.cli.options import Device, EngineName, Json, Precision, PrecisionName, SomeBundle, shown
from edgead.engines import is_here, load_engine
from edgead.errors import GateError
from edgead.registry import Lazy
from edgead.stream.assembly import newest_bundle


def verify(
    bundle: SomeBundle = None,
    engine: EngineName = "auto",
    precision: PrecisionName = Precision.auto,
    device: Device = 0,
    key: Annotated[
        list[Path] | None, typer.Option(help="Public key of which one must have signed it. Again for several.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every digest, and each golden frame on this machine's engine in every precision (or the one named).

    \b
    edgead verify
    edgead verify part.edgead --engine onnx --precision int8
    edgead verify part.edgead --key factory.pub.pem
    """
    bundle = bundle or newest_bundle()
    opened = Bundle.open(bundle)
    if key:
        _check_signature(opened, key)
    have = dict.fromkeys(artifact.precision for artifact in opened.manifest.artifacts)
    print(f"edgead: {bundle}: {len(opened.members())} members match their digests", file=sys.stderr)
    if precision is Precision.auto:
        runs = [_check(opened, engine, name, device, as_json) for name in have if _runs_here(opened, engine, name)]
        if not runs:
            load_engine(opened, engine, device=device).close()  # says why none can
        failed = sum(runs)
    else:
        failed = _check(opened, engine, precision.value, device, as_json)
    if not opened.manifest.golden_frames:
        print("edgead: the bundle has no golden frames, so no engine was checked", file=sys.stderr)
    if failed:
        raise GateError(
            f"{failed} golden frames differ by more than their tolerance: do not judge parts with this engine here; "
            "try another --precision or --engine, and report it with the output of `edgead doctor`"
        )


def _check_signature(opened: Bundle, keys: list[Path]) -> None:
    """Say who has signed the bundle; raises BundleError where none of the keys has."""
    trust = Lazy("edgead.bundle.signing:read_trust", extra="signing").load("--key")(keys)
    found = trust.check(opened)
    until = f", until {found.statement.expires:%Y-%m-%d}" if found.statement.expires else ""
    signed = f"on {found.statement.signed:%Y-%m-%d}{until}"
    print(f"edgead: {opened.path}: signed with the key {found.key_id[:12]} {signed}", file=sys.stderr)


def _runs_here(opened: Bundle, engine: str, precision: str) -> bool:
    """Whether there is an engine for the precision here; a network for others is said and left out."""
    if is_here(opened, engine, precision):
        return True
    names = {a.engine or "any engine" for a in opened.manifest.artifacts if a.precision == precision}
    print(f"edgead: {precision} is for {shown(', '.join(sorted(names)))} and was not checked", file=sys.stderr)
    return False


def _check(opened: Bundle, engine: str, precision: str, device: int, as_json: bool) -> int:
    """Print the checks of one precision; returns how many failed."""
    from edgead.detector import Detector
    from edgead.verify import verify as verify_golden

    with Detector(opened, engine=engine, precision=precision, device=device) as detector:
        checks = verify_golden(opened, detector)
        for check in checks:
            if as_json:
                line: dict[str, object] = {"engine": detector.engine.name, "precision": precision, "frame": check.frame}
                for name, error in (("map_error", check.map_error), ("score_error", check.score_error)):
                    line[name] = error if error < float("inf") else None
                print(json.dumps({**line, "tolerance": check.tolerance, "passed": check.passed}))
            else:
                sign = "ok    " if check.passed else "FAILED"
                where = f"{detector.engine.name} {precision:<4}  {shown(check.frame)}"
                differs = f"{check.map_error:.3g} (allowed {check.tolerance:.3g})"
                scores = f"{check.score_error:.3g} ({check.score_tolerance:.3g})"
                print(f"{sign}  {where}  map differs by {differs}, score by {scores}")
    return sum(not check.passed for check in checks)
