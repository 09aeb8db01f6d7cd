"""Draws plots as inline SVG: no script, no font, no request."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.overlay import FULL_SCALE
from edgead_tools.evaluation.evaluate import Evaluation

GOOD, DEFECTIVE = "#0072b2", "#d55e00"  # told apart by the color-blind (Okabe and Ito, 2008)
COLORS = ("#7b5ea7", "#00896b", "#cc79a7", "#a6761d", "#56b4e9", "#8a8f98")  # of models; never those of kinds of image
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
    """The same of calibrated scores; there may be none of one kind. Heights are shares of the images of a kind."""
    scores = np.array([*good, *bad])
    low, high = min(max(float(scores.min()), -3.0), 0.0), min(max(float(scores.max()), 1.5), 4.0)
    width, height = 460, 220
    shares = {fill: _shares(ones, low, high) for ones, fill in ((good, GOOD), (bad, DEFECTIVE)) if len(ones)}
    top = max(float(share.max()) for share in shares.values())
    bars = "".join(_bars(share / top, fill, width, height) for fill, share in shares.items())

    def across(score: float) -> float:
        return width * (score - low) / (high - low)

    edges = {math.ceil(low): "≤ " if scores.min() < low else "", math.floor(high): "≥ " if scores.max() > high else ""}
    ticks = [(across(at), f"{edges.get(at, '')}{at}") for at in range(math.ceil(low), math.floor(high) + 1)]
    levels = [(height * (1 - at), f"{at * top:.0%}") for at in (0.0, 0.5, 1.0)]
    line = across(1.0)
    return (
        f'<svg viewBox="-38 -18 {width + 58} {height + 58}" role="img" aria-label="score histogram">'
        f"{axes(ticks, levels, width, height)}{bars}"
        f'<line x1="{line:.1f}" x2="{line:.1f}" y1="-4" y2="{height}" class="mark"/>'
        f'<text x="{line + 4:.1f}" y="-6">threshold</text>'
        f'<text x="{width / 2}" y="{height + 34}" text-anchor="middle">score; heights: share of the images of a kind'
        "</text></svg>"
    )


def axes(across: Sequence[tuple[float, str]], down: Sequence[tuple[float, str]], width: int, height: int) -> str:
    """The ticks of a plot of that size, in units of its drawing: where each is, and what stands at it."""
    return "".join(
        [
            f'<line x1="0" x2="{width}" y1="{height}" y2="{height}" class="tick"/>',
            *(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{height}" y2="{height + 4}" class="tick"/>'
              f'<text x="{x:.1f}" y="{height + 17}" text-anchor="middle">{words}</text>' for x, words in across),
            *(f'<line x1="0" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" class="tick"/>'
              f'<text x="-5" y="{y + 4:.1f}" text-anchor="end">{words}</text>' for y, words in down),
        ]
    )  # fmt: skip


def _shares(scores: Sequence[float], low: float, high: float) -> NDArray[np.float64]:
    """The share of scores in each bin; those outside lie in the outermost."""
    counts, _ = np.histogram(np.clip(scores, low, high), np.linspace(low, high, BINS + 1))
    return np.asarray(counts / len(scores))


def _bars(heights: NDArray[np.float64], fill: str, width: int, height: int) -> str:
    step = width / BINS
    return "".join(
        f'<rect x="{index * step:.1f}" y="{height * (1 - bar):.1f}" width="{step:.1f}" '
        f'height="{height * bar:.1f}" fill="{fill}" fill-opacity=".6"/>'
        for index, bar in enumerate(heights)
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
            stroke = color(index) if len(evaluations) > 1 else "currentColor"
            parts.append(f'<polyline points="{points}" class="line" stroke="{stroke}"/>')
            parts.append(f'<circle cx="{width * x:.1f}" cy="{width * (1 - y):.1f}" r="5" fill="{stroke}"/>')
    if not parts:
        return "<p>The ROC needs good and defective images.</p>"
    steps = (0.0, 0.25, 0.5, 0.75, 1.0)
    ticks = [(width * at, f"{at:.0%}") for at in steps]
    levels = [(width * (1 - at), f"{at:.0%}") for at in steps]
    return (
        f'<svg viewBox="-58 -18 {width + 78} {width + 58}" role="img" aria-label="ROC">'
        f'{axes(ticks, levels, width, width)}<rect width="{width}" height="{width}" class="frame"/>{"".join(parts)}'
        f'<text x="{width / 2}" y="{width + 34}" text-anchor="middle">false alarms; the dot is the threshold</text>'
        f'<text x="-44" y="{width / 2}" text-anchor="middle" transform="rotate(-90 -44 {width / 2})">defects found'
        "</text></svg>"
    )


def _share_from(ascending: NDArray[np.float64], cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of scores that are at least each cut."""
    return np.asarray(1 - np.searchsorted(ascending, cuts, side="left") / len(ascending))


def heat_scale() -> str:
    """The colors of the anomaly map, from nothing to the hottest, with what they stand for."""
    stops = cv2.applyColorMap(np.linspace(0, 255, 9).astype(np.uint8)[None], cv2.COLORMAP_INFERNO)[0][:, ::-1]
    colors = ", ".join("rgb({}, {}, {})".format(*(int(level) for level in stop)) for stop in stops)
    marks = ("0: as good parts", "1: the pixel threshold", f"{FULL_SCALE:g} and more")
    words = "".join(f"<span>{mark}</span>" for mark in marks)
    return f'<div class="heat"><i style="background: linear-gradient(90deg, {colors})"></i><p>{words}</p></div>'


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
        f'font-size="12"><rect width="{width}" height="{height}" fill="white" class="sheet"/>',
        f'<text x="{width / 2}" y="24" text-anchor="middle" font-size="14">{html.escape(title)}</text>',
        f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">{html.escape(x)}</text>',
        f'<text x="14" y="{height / 2}" text-anchor="middle" transform="rotate(-90 14 {height / 2})">'
        f"{html.escape(y)}</text>",
    ]
    for step in range(5):
        value, cost = low + (high - low) * step / 4, right * step / 4
        across, down = place(Point("", "", cost, value))
        parts.append(f'<path d="M{margin} {down:.1f}H{width - margin}" stroke="#ddd" class="tick"/>')
        parts.append(f'<text x="{margin - 6}" y="{down + 4:.1f}" text-anchor="end">{value:.3f}</text>')
        parts.append(f'<text x="{across:.1f}" y="{height - margin + 18}" text-anchor="middle">{cost:.3g}</text>')
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
