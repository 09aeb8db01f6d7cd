"""The section on what size of defect is found: probability of detection of planted defects, with its band."""

from __future__ import annotations

import html
import math

from edgead.bundle import DetectionCurve, Manifest
from edgead_tools.evaluation.report.page import Section, plots
from edgead_tools.evaluation.report.plots import axes

WIDTH, HEIGHT = 300, 200


def section(manifest: Manifest) -> Section | None:
    """A plot and a sentence for each kind; None where nothing was planted."""
    detection = manifest.detection
    if detection is None or not detection.curves:
        return None
    boxes = [
        f"{_plot(curve, min(detection.frame), manifest.mm_per_pixel)}"
        f"<p>{html.escape(curve.in_words(detection.frame, manifest.mm_per_pixel))}</p>"
        for curve in detection.curves
    ]
    text = "<p>Defects planted in held-out good images, at the image threshold; 95 % limits on either side.</p>"
    return Section(f"Size of defect that {manifest.name} finds", text + plots(boxes))


def _plot(curve: DetectionCurve, side: int, mm_per_pixel: float) -> str:
    """Probability over the size on a logarithmic axis, in pixels of the frame or in millimeters."""
    unit, factor = ("mm", side * mm_per_pixel) if mm_per_pixel > 0 else ("pixels", float(side))
    first, last = (math.log(curve.sizes[end]) for end in (0, -1))

    def place(size: float, value: float) -> str:
        return f"{WIDTH * (math.log(size) - first) / (last - first):.1f},{HEIGHT * (1 - value):.1f}"

    line = " ".join(place(*pair) for pair in zip(curve.sizes, curve.probability, strict=True))
    upper = [place(*pair) for pair in zip(curve.sizes, curve.high, strict=True)]
    lower = [place(*pair) for pair in zip(curve.sizes, curve.low, strict=True)]
    mark = ""
    if curve.a90_95 is not None and curve.a90_95 >= curve.sizes[0]:
        x = place(curve.a90_95, 0).partition(",")[0]
        mark = f'<line class="mark" x1="{x}" y1="0" x2="{x}" y2="{HEIGHT}"/>'
    sizes = (scale * 10**power / factor for power in range(-3, 5) for scale in (1, 2, 5))
    ticks = [
        (float(place(size, 0).partition(",")[0]), f"{size * factor:g}")
        for size in sizes
        if curve.sizes[0] <= size <= curve.sizes[-1]
    ]
    levels = [(HEIGHT * (1 - share), f"{share:.0%}") for share in (0.0, 0.5, 0.9, 1.0)]
    return (
        f'<svg viewBox="-58 -10 {WIDTH + 70} {HEIGHT + 50}" role="img" aria-label="{html.escape(curve.kind)}">'
        f'{axes(ticks, levels, WIDTH, HEIGHT)}<rect width="{WIDTH}" height="{HEIGHT}" class="frame"/>'
        f'<polygon points="{" ".join([*upper, *reversed(lower)])}" fill="currentColor" opacity="0.15"/>'
        f'<polyline points="{line}" class="line" stroke="currentColor"/>{mark}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT + 34}" text-anchor="middle">size in {unit}: {html.escape(curve.kind)}</text>'
        f'<text x="-46" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 -46 {HEIGHT / 2})">found'
        "</text></svg>"
    )
