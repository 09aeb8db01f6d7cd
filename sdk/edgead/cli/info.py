"""Implements `edgead info`: what is in a bundle, in plain words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer

from edgead.bundle import Artifact, Bundle
from edgead.cli.options import Json, SomeBundle, shown
from edgead.ops import load_mask
from edgead.stream.assembly import newest_bundle
from edgead.wording import plural

Everything = Annotated[bool, typer.Option("--all", help="Every recorded setting, version and figure, a line each.")]


def info(bundle: SomeBundle = None, as_json: Json = False, everything: Everything = False) -> None:
    """Show a bundle as a card: what it was made from, what it finds, its threshold, networks and licenses.

    Its digests are checked. Where none is named it is the newest in this folder, as `edgead run` takes it.

    \b
    edgead info
    edgead info part.edgead --all
    edgead info part.edgead --json
    """
    bundle = bundle or newest_bundle()
    opened = Bundle.open(bundle)
    if as_json:
        manifest = msgspec.to_builtins(opened.manifest)
        print(json.dumps({"file": str(bundle), "digest": opened.digest, "manifest": manifest}))
        return
    print(f"{shown(opened.manifest.name)}  ({shown(bundle)}, {opened.digest[:12]})")
    for label, text in _rows(opened, everything=everything):
        print(f"  {label:<11} {text}")


def _rows(bundle: Bundle, *, everything: bool = False) -> Iterator[tuple[str, str]]:
    manifest, mask = bundle.manifest, load_mask(bundle)
    spec = manifest.input
    yield "method", shown(manifest.method)
    yield "input", f"{spec.in_words()}, frames of any size; 16-bit images with {spec.bits} bits"
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
    yield from _history(manifest.provenance)
    if everything:
        yield from _everything({k: v for k, v in manifest.provenance.items() if k != "precisions"})  # a page of figures
        return
    licenses = manifest.provenance.get("licenses", manifest.provenance.get("licences")) or {}
    yield "licenses", shown("; ".join(f"{name}: {terms}" for name, terms in licenses.items()) or "none stated")
    yield "more", "--all shows every recorded value, --json the whole manifest"


def _history(provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the bundle was made from and by, and what was measured, in words; nothing of what is not recorded."""
    made = [
        f"edgead {provenance['edgead']}" if "edgead" in provenance else "",
        str(provenance.get("created", ""))[:10],
        f"seed {provenance['config']['seed']}" if "seed" in provenance.get("config", {}) else "",
    ]
    if any(made):
        yield "built", shown(", ".join(filter(None, made)))
    data, training = provenance.get("data", {}), provenance.get("training", {})
    if "train" in data:
        sides = f"{plural(data['train'], 'image')} to train, {data.get('calibration', 0)} to calibrate, "
        sides += f"{data.get('held_out', 0)} kept aside"
        left = len(data.get("left_out", ()))
        parts = f", {plural(data['parts'], 'different part')}" if "parts" in data else ""
        yield "good images", f"{sides}{parts}" + (f"; {left} left out" if left else "")
    if "steps" in training:
        yield "training", f"{plural(training['steps'], 'step')} in {training.get('seconds', 0):.0f} s"
    measured = provenance.get("measured") or {}
    names = {"image_auroc": "image AUROC {:.3f}", "aupro": "AUPRO {:.3f}", "false_alarm_rate": "false alarms {:.1%}",
             "miss_rate": "misses {:.1%}"}  # fmt: skip
    figures = [form.format(measured[name]) for name, form in names.items() if measured.get(name) is not None]
    if figures:
        good, bad = measured.get("good", 0), measured.get("defective", 0)
        yield "measured", f"{', '.join(figures)} on {good} good and {bad} defective images"
    for entry in provenance.get("thresholds", [])[-3:]:
        yield "threshold", shown(", ".join(str(entry[key]) for key in ("what", "who", "when") if entry.get(key)))


def threshold_in_words(artifact: Artifact) -> str:
    """One artifact's image threshold as a sentence."""
    fitted = artifact.thresholds
    low, high = (f"{100 * rate:.3g}" for rate in fitted.interval)
    text = f"NG above a raw score of {fitted.image:.4g} (a typical good part: {fitted.image_center:.4g}); "
    asked, aimed = (f"{100 * rate:.3g} %" for rate in (fitted.false_alarm_rate, fitted.aimed_rate))
    few = not (fitted.promised or fitted.chosen)
    set_for = f"{aimed} false alarms ({asked} were asked for)" if few and fitted.aimed_rate else f"{asked} false alarms"
    parts = f" of about {plural(fitted.parts, 'different part')}" if fitted.parts else ""
    text += f"fitted to {fitted.images} good images{parts} for {set_for}, expect {low} to {high} %"
    text += "; chosen by a person" if fitted.chosen else ""
    text += "; too few images to promise the rate that was asked for" if few else ""
    return text + (f"; {plural(fitted.outliers, 'outlier')} not counted" if fitted.outliers else "")


def _everything(provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
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
