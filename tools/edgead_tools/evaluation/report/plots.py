"""Draws plots as inline SVG: no script, no font, no request."""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead_tools.evaluation.evaluate import Evaluation

GOOD, DEFECTIVE = "#0072b2", "#d55e00"  # told apart by the color-blind (Okabe and Ito, 2008)
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
BINS = 40
LEAST_SPAN = 0.02  # of a plot's worth: what is nearly equal is to look so


def color(index: int) -> str:
    """The color of the index-th thing in a plot."""
    return COLORS[index % len(COLORS)]


def histogram(evaluation: Evaluation) -> str:
    """Scores of good and defective images over each other; what lies outside the plot stands at its edges."""
    good, bad = ([one.score for one in evaluation.judged if one.is_good is side] for side in (True, False))
    return score_histogram(good, bad)


def score_histogram(good: Sequence[float], bad: Sequence[float]) -> str:
    """The same of calibrated scores; there may be none of one kind."""
    scores = np.array([*good, *bad])
    low, high = min(max(float(scores.min()), -3.0), 0.0), min(max(float(scores.max()), 1.5), 4.0)
    width, height = 460, 220
    line = width * (1.0 - low) / (high - low)
    return (
        f'<svg viewBox="0 -14 {width} {height + 34}" role="img" aria-label="score histogram">'
        f"{_bars(good, GOOD, low, high, width, height)}{_bars(bad, DEFECTIVE, low, high, width, height)}"
        f'<line x1="{line:.1f}" x2="{line:.1f}" y1="0" y2="{height}" class="mark"/>'
        f'<text x="{line + 4:.1f}" y="0">threshold</text>'
        f'<text x="0" y="{height + 16}">{low:.1f}</text>'
        f'<text x="{width / 2}" y="{height + 16}" text-anchor="middle">score; each kind to its own height</text>'
        f'<text x="{width}" y="{height + 16}" text-anchor="end">{high:.1f}</text></svg>'
    )


def _bars(scores: Sequence[float], fill: str, low: float, high: float, width: int, height: int) -> str:
    counts, _ = np.histogram(np.clip(scores, low, high), np.linspace(low, high, BINS + 1))
    step = width / BINS
    return "".join(
        f'<rect x="{index * step:.1f}" y="{height * (1 - bar):.1f}" width="{step:.1f}" '
        f'height="{height * bar:.1f}" fill="{fill}" fill-opacity=".55"/>'
        for index, bar in enumerate(counts / max(1, counts.max()))
        if bar > 0
    )


def roc(evaluations: Sequence[Evaluation]) -> str:
    """The ROC curves of several models on the same images; a dot is a model's threshold."""
    width, parts = 220, []
    for index, one in enumerate(evaluations):
        good, bad = (
            np.sort([image.raw_score for image in one.judged if image.is_good is side]) for side in (True, False)
        )
        if len(good) and len(bad):
            cuts = np.concatenate([[np.inf], np.unique(np.concatenate([good, bad]))[::-1]])
            points = " ".join(
                f"{width * x:.1f},{width * (1 - y):.1f}"
                for x, y in zip(_share_from(good, cuts), _share_from(bad, cuts), strict=True)
            )
            x, y = one.false_alarm_rate or 0.0, 1 - (one.miss_rate or 0.0)
            parts.append(f'<polyline points="{points}" class="line" stroke="{color(index)}"/>')
            parts.append(f'<circle cx="{width * x:.1f}" cy="{width * (1 - y):.1f}" r="4" fill="{color(index)}"/>')
    if not parts:
        return "<p>The ROC needs good and defective images.</p>"
    return (
        f'<svg viewBox="-18 -14 {width + 24} {width + 34}" role="img" aria-label="ROC">'
        f'<rect width="{width}" height="{width}" class="frame"/>{"".join(parts)}'
        f'<text x="0" y="{width + 16}">false alarms; the dot is the threshold</text>'
        f'<text x="-6" y="{width}" transform="rotate(-90 -6 {width})">found</text></svg>'
    )


def _share_from(ascending: NDArray[np.float64], cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of scores that are at least each cut."""
    return np.asarray(1 - np.searchsorted(ascending, cuts, side="left") / len(ascending))


@dataclass(frozen=True, slots=True)
class Point:
    """One thing to choose: what it costs, what it is worth, and which line of the plot it belongs to."""

    name: str
    group: str
    x: float
    y: float


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: none costs as little or less and is worth more. By rising cost."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.x, -one.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def scatter(points: Sequence[Point], *, x: str, y: str, title: str, front: bool) -> str:
    """A standing-alone SVG of worth over cost, with names. A line joins each group, or, with `front`, the best."""
    width, height, margin = 760, 430, 64
    right, high = 1.08 * max(point.x for point in points), max(point.y for point in points)
    low = min(high - LEAST_SPAN, *(point.y for point in points))

    def place(point: Point) -> tuple[float, float]:
        across = margin + point.x / right * (width - 2 * margin)
        return across, height - margin - (point.y - low) / (high - low) * (height - 2 * margin)

    groups = list(dict.fromkeys(point.group for point in points))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{width / 2}" y="24" text-anchor="middle" font-size="14">{html.escape(title)}</text>',
        f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">{html.escape(x)}</text>',
        f'<text x="14" y="{height / 2}" text-anchor="middle" transform="rotate(-90 14 {height / 2})">'
        f"{html.escape(y)}</text>",
    ]
    for step in range(5):
        value, cost = low + (high - low) * step / 4, right * step / 4
        across, down = place(Point("", "", cost, value))
        parts.append(f'<line x1="{margin}" x2="{width - margin}" y1="{down:.1f}" y2="{down:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{margin - 6}" y="{down + 4:.1f}" text-anchor="end">{value:.3f}</text>')
        parts.append(f'<text x="{across:.1f}" y="{height - margin + 18}" text-anchor="middle">{cost:.0f}</text>')
    lines = {"": pareto(points)} if front else {name: [p for p in points if p.group == name] for name in groups}
    for name, ones in lines.items():
        joined = " ".join("{:.1f},{:.1f}".format(*place(one)) for one in sorted(ones, key=lambda one: one.x))
        stroke = color(groups.index(name)) if name in groups else "#888"
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{stroke}" stroke-width="2"/>')
    for point, above in zip(points, itertools.cycle((-9, 17)), strict=False):
        across, down = place(point)
        fill = color(groups.index(point.group))
        parts.append(f'<circle cx="{across:.1f}" cy="{down:.1f}" r="4.5" fill="{fill}"/>')
        parts.append(
            f'<text x="{across:.1f}" y="{down + above:.1f}" text-anchor="middle" font-size="10" fill="#444">'
            f"{html.escape(point.name)}</text>"
        )
    for index, name in enumerate(groups):
        parts.append(
            f'<text x="{margin + 130 * index}" y="46" style="fill:{color(index)}">● {html.escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
