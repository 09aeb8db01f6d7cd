"""One self-contained HTML page that shows what a bundle does on labelled images. It makes no network request."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

import cv2
import numpy as np

from edgead import Detector
from edgead.files import write_file
from edgead.images import read_image
from edgead.ops import resize
from edgead_calibration.thresholds import describe
from edgead_tools.evaluate import Evaluation, Judged
from edgead_tools.precision_report import precision_section

SIDE = 220  # pixels of a picture in the gallery
GALLERY = 8  # pictures a row
_BINS = 40


def write_report(path: Path, evaluation: Evaluation, detector: Detector, *, title: str, notes: Sequence[str]) -> None:
    """Write the page atomically; the pictures are judged anew, so that only a few are ever in memory."""
    judged = sorted(evaluation.judged, key=lambda one: one.score)
    good = [one for one in judged if one.is_good]
    bad = [one for one in judged if not one.is_good]
    sections = [
        ("Defects, strongest first", bad[::-1]),
        ("Defects that were missed", [one for one in bad if not one.refused]),
        ("False alarms", [one for one in good[::-1] if one.refused]),
        ("Good parts, strangest first", [one for one in good[::-1] if not one.refused]),
    ]
    page = _PAGE.substitute(
        title=html.escape(title),
        tiles="".join(_tile(name, value) for name, value in _figures(evaluation)),
        promise=html.escape(_sentence(describe(detector.artifact.thresholds))),
        histogram=_histogram(good, bad),
        roc=_roc(evaluation),
        sections="".join(_section(name, ones, detector) for name, ones in sections if ones),
        precisions=precision_section(detector.bundle.manifest.provenance),
        notes="".join(f"<li>{html.escape(note)}</li>" for note in notes),
    )
    write_file(path, page.encode())


def _figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return [
        ("image AUROC", number(evaluation.image_auroc, ".3f")),
        ("pixel AUROC", number(evaluation.pixel_auroc, ".3f")),
        ("AUPRO 30 %", number(evaluation.aupro, ".3f")),
        ("false alarms", number(evaluation.false_alarm_rate, ".1%")),
        ("misses", number(evaluation.miss_rate, ".1%")),
        ("per image", number(evaluation.latency_ms, ".1f") + " ms"),
    ]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _tile(name: str, value: str) -> str:
    return f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'


def _section(name: str, ones: Sequence[Judged], detector: Detector) -> str:
    pictures = "".join(_picture(one, detector) for one in ones[:GALLERY])
    return f"<h2>{html.escape(name)} <small>({len(ones)})</small></h2><div class='row'>{pictures}</div>"


def _picture(one: Judged, detector: Detector) -> str:
    image = read_image(one.path, bits=detector.bundle.manifest.input.bits)
    drawn = detector(image).overlay(image)
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    pair = np.hstack([resize(image, *size), resize(drawn, *size)])
    _, encoded = cv2.imencode(".jpg", pair, [cv2.IMWRITE_JPEG_QUALITY, 80])
    source = base64.b64encode(encoded.tobytes()).decode()
    caption = f"{one.label} · {Path(one.path).name} · score {one.score:.2f}"
    return (
        f'<figure><img alt="{html.escape(caption)}" src="data:image/jpeg;base64,{source}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _histogram(good: Sequence[Judged], bad: Sequence[Judged]) -> str:
    """Scores of good and defective images as two outlines; scores outside 3 gaps of the threshold go to the edges."""
    scores = np.array([one.score for one in (*good, *bad)])
    low, high = min(max(float(scores.min()), -3.0), 0.0), min(max(float(scores.max()), 1.5), 4.0)
    edges = np.linspace(low, high, _BINS + 1)
    width, height = 460, 220

    def outline(ones: Sequence[Judged], colour: str) -> str:
        counts, _ = np.histogram(np.clip([one.score for one in ones], low, high), edges)
        bars = counts / max(1, counts.max())
        step = width / _BINS
        return "".join(
            f'<rect x="{i * step:.1f}" y="{height * (1 - bar):.1f}" width="{step:.1f}" height="{height * bar:.1f}" '
            f'fill="{colour}" fill-opacity=".55"/>'
            for i, bar in enumerate(bars)
            if bar > 0
        )

    line = width * (1.0 - low) / (high - low)
    return (
        f'<svg viewBox="0 -14 {width} {height + 34}" role="img" aria-label="score histogram">'
        f"{outline(good, '#2e9e6b')}{outline(bad, '#e0533d')}"
        f'<line x1="{line:.1f}" x2="{line:.1f}" y1="0" y2="{height}" class="mark"/>'
        f'<text x="{line + 4:.1f}" y="0">threshold</text>'
        f'<text x="0" y="{height + 16}">{low:.1f}</text>'
        f'<text x="{width}" y="{height + 16}" text-anchor="end">{high:.1f}</text></svg>'
    )


def _roc(evaluation: Evaluation) -> str:
    if evaluation.image_auroc is None:
        return "<p>The ROC needs good and defective images.</p>"
    side = 220
    good = np.array([one.raw_score for one in evaluation.judged if one.is_good])
    bad = np.array([one.raw_score for one in evaluation.judged if not one.is_good])
    cuts = np.concatenate([[np.inf], np.unique(np.concatenate([good, bad]))[::-1]])
    points = " ".join(
        f"{side * float((good >= cut).mean()):.1f},{side * (1 - float((bad >= cut).mean())):.1f}" for cut in cuts
    )
    x, y = evaluation.false_alarm_rate or 0.0, 1 - (evaluation.miss_rate or 0.0)
    return (
        f'<svg viewBox="-2 -14 {side + 4} {side + 34}" role="img" aria-label="ROC">'
        f'<rect width="{side}" height="{side}" class="frame"/><polyline points="{points}" class="roc"/>'
        f'<circle cx="{side * x:.1f}" cy="{side * (1 - y):.1f}" r="4" class="dot"/>'
        f'<text x="0" y="{side + 16}">ROC; the dot is the threshold</text></svg>'
    )


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>
:root { color-scheme: light dark; --fg: #1c2530; --bg: #f6f7f9; --card: #fff; --dim: #6b7785; --line: #d9dee4; }
@media (prefers-color-scheme: dark) {
  :root { --fg: #e6eaef; --bg: #12161b; --card: #1b2129; --dim: #93a0ae; --line: #2c343e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); margin: 0 auto;
  max-width: 1080px; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 16px; } h2 { font-size: 17px; margin: 32px 0 8px; }
small, figcaption, .tile span, li { color: var(--dim); }
.tiles, .row, .plots { display: flex; flex-wrap: wrap; gap: 12px; }
.tile, .plots > div, figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.tile { padding: 12px 18px; flex: 1; min-width: 110px; } .tile b { display: block; font-size: 24px; }
.plots > div { padding: 14px; } .plots svg { display: block; height: 240px; }
table { border-collapse: collapse; } td, th { padding: 3px 10px 3px 0; text-align: left; font-size: 13px; }
svg text { font-size: 12px; fill: var(--dim); } .frame { fill: none; stroke: var(--line); }
.roc { fill: none; stroke: #2f7de1; stroke-width: 2.5; } .mark { stroke: var(--fg); stroke-dasharray: 4 3; }
.dot { fill: #e0533d; } figure { margin: 0; padding: 8px; } figure img { display: block; border-radius: 4px; }
figcaption { font-size: 12px; margin-top: 4px; } .key i { display: inline-block; width: 10px; height: 10px;
  border-radius: 2px; margin: 0 4px 0 12px; }
</style></head><body>
<h1>$title</h1>
<div class="tiles">$tiles</div>
<p>$promise</p>
<div class="plots"><div>$histogram<span class="key"><i style="background:#2e9e6b"></i>good
<i style="background:#e0533d"></i>defective (each scaled to its own height)</span></div><div>$roc</div></div>
$sections
$precisions
<h2>Notes</h2><ul>$notes</ul>
</body></html>
""")
