"""Writes the section on precisions: a table of what each costs, and the effect of every measured block."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import msgspec

from edgead_calibration.precisions import PrecisionResult
from edgead_tools.evaluation.report.page import Section, plots, table

BARS = 16  # blocks shown, most sensitive first
_HEAD = ("", "maps differ", "rank correlation", "false alarms", "misses", "AUROC", "MB", "ms", "")


def section(provenance: Mapping[str, Any]) -> Section | None:
    """What a bundle's provenance says of its precisions; None for one that was built in FP32 alone."""
    record = provenance.get("precisions")
    if not record:
        return None
    results = [msgspec.convert(one, PrecisionResult) for one in record["trials"]]
    intro = (
        f"<p>Beside FP32, on {record['good']} good images kept aside and {record['anomalous']} anomalous ones, most of "
        "them planted. Maps are calibrated: 1 is the threshold. After a slash stands FP32.</p>"
    )
    return Section(
        "Precisions", intro + table(_HEAD, [_row(t) for t in results]) + plots([_plot(t) for t in _measured(results)])
    )


def _row(result: PrecisionResult) -> list[str]:
    found = result.comparison
    costs = ["–"] * 5
    if found is not None:
        costs = [
            f"{found.map_mean:.3f}, at most {found.map_largest:.2f}",
            f"{found.spearman:.4f}",
            f"{found.false_alarms:.1%} / {found.false_alarms_fp32:.1%}",
            f"{found.misses:.1%} / {found.misses_fp32:.1%}",
            f"{found.auroc:.4f} / {found.auroc_fp32:.4f}",
        ]
    size = f"{result.size / 1e6:.2f} / {result.size_fp32 / 1e6:.2f}"
    timed = result.milliseconds is not None and result.milliseconds_fp32 is not None
    time = f"{result.milliseconds:.1f} / {result.milliseconds_fp32:.1f}" if timed else "not timed here"
    return [f"{result.precision} {result.engine}", *costs, size, time, _verdict(result)]


def _verdict(result: PrecisionResult) -> str:
    if not result.shipped:
        return f"left out: {result.reason}"
    said = "in the bundle"
    if result.is_faster is False:
        said += "; not faster here, so auto takes FP32"
    return said + (f"; in FP32: {', '.join(result.reverted)}" if result.reverted else "")


def _measured(results: list[PrecisionResult]) -> list[PrecisionResult]:
    """One result of each precision whose blocks were measured: its engines share the network."""
    return list({result.precision: result for result in results if result.effects}.values())


def _plot(result: PrecisionResult) -> str:
    """Bars: the mean difference of the calibrated map where one block alone is in the precision."""
    ordered = sorted(result.effects.items(), key=lambda pair: -pair[1])[:BARS]
    longest = max(1e-9, min(ordered[0][1], 3.0))  # maps are clipped, and a network without numbers counts as 1e9
    bars = "".join(
        f'<rect x="260" y="{18 * row}" width="{300 * min(effect, longest) / longest:.1f}" height="13" '
        f'fill="{"#e0533d" if name in result.reverted else "#2f7de1"}"/>'
        f'<text x="254" y="{18 * row + 11}" text-anchor="end">{escape(name)}</text>'
        f'<text x="566" y="{18 * row + 11}">{effect:.3f}</text>'
        for row, (name, effect) in enumerate(ordered)
    )
    return (
        f"<h3>{result.precision}: the effect of each block alone on the map <small>(red: reverted to FP32)</small></h3>"
        f'<svg viewBox="0 0 640 {18 * len(ordered) + 4}" style="height: auto" role="img" aria-label="block by block">'
        f"{bars}</svg>"
    )
