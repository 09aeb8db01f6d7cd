"""Implements `edgead info`: what is in a bundle, in plain words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from edgead.bundle import Artifact, Bundle
from edgead.cli.options import BundlePath, Json, shown
from edgead.ops import load_mask


def info(bundle: BundlePath, as_json: Json = False) -> None:
    """Show a bundle's method, input, precisions, thresholds, provenance and licenses, after checking its digests."""
    opened = Bundle.open(bundle)
    if as_json:
        manifest = msgspec.to_builtins(opened.manifest)
        print(json.dumps({"file": str(bundle), "digest": opened.digest, "manifest": manifest}))
        return
    print(f"{shown(opened.manifest.name)}  ({shown(bundle)}, {opened.digest[:12]})")
    for label, text in _rows(opened):
        print(f"  {label:<11} {text}")


def _rows(bundle: Bundle) -> Iterator[tuple[str, str]]:
    manifest, mask = bundle.manifest, load_mask(bundle)
    spec = manifest.input
    yield "method", shown(manifest.method)
    yield "input", f"{spec.width} x {spec.height} pixels, frames of any size; 16-bit images with {spec.bits} bits"
    judged = "" if mask is None else f", {mask.mean():.0%} of them judged ({shown(manifest.fusion.mask)})"
    yield "map", f"{manifest.fusion.width} x {manifest.fusion.height} cells{judged}"
    for artifact in manifest.artifacts:
        only = f" on {shown(artifact.engine)}" if artifact.engine else ""
        is_best = artifact == manifest.artifact("auto", artifact.engine)
        best = f" (taken{only} unless --precision says otherwise)" if is_best else ""
        yield "network", f"{artifact.precision}{only}, {manifest.members[artifact.member].size / 1e6:.1f} MB{best}"
        yield "", threshold_in_words(artifact)
    if manifest.detection is not None:
        for index, curve in enumerate(manifest.detection.curves):
            yield "" if index else "finds", shown(curve.in_words(manifest.detection.frame, manifest.mm_per_pixel))
    yield "checked by", f"{len(manifest.golden_frames)} golden frames (`edgead verify`)"
    for trial in manifest.provenance.get("precisions", {}).get("trials", []):
        if trial["reason"]:
            yield "left out", shown(f"{trial['precision']} on {trial['engine']}: {trial['reason']}")
    yield from _provenance({k: v for k, v in manifest.provenance.items() if k != "precisions"})  # a page of figures


def threshold_in_words(artifact: Artifact) -> str:
    """One artifact's image threshold as a sentence."""
    fitted = artifact.thresholds
    low, high = (f"{100 * rate:.3g}" for rate in fitted.interval)
    text = f"NG above a raw score of {fitted.image:.4g} (a typical good part: {fitted.image_center:.4g}); "
    text += f"fitted to {fitted.images} good images for {100 * fitted.false_alarm_rate:.3g} % false alarms, "
    text += f"expect {low} to {high} %"
    text += "; chosen by a person" if fitted.chosen else ""
    text += "" if fitted.promised or fitted.chosen else "; too few images to promise that rate"
    return text + (f"; {fitted.outliers} images with outlying scores are not counted" if fitted.outliers else "")


def _provenance(provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    licenses = provenance.get("licenses", provenance.get("licences"))
    for line in _lines({k: v for k, v in provenance.items() if k not in ("licenses", "licences")}):
        yield "made from", line
    for line in _lines(licenses) if licenses else ["none stated"]:
        yield "licenses", line


def _lines(value: Any, name: str = "") -> Iterator[str]:
    """Nested plain values as `a.b: value` lines."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for index, item in enumerate(value):
            yield from _lines(item, f"{name}[{index}]")
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield shown(f"{name}: {text}" if name else text)
