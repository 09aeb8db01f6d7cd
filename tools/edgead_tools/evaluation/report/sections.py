"""Writes a report's sections: each is a function from what was measured to a `Section`, or None."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgead_calibration.thresholds import threshold_summary
from edgead_tools.evaluation.report import plots
from edgead_tools.evaluation.report.page import Section, gallery, key, table, tiles
from edgead_tools.evaluation.report.page import plots as side_by_side

if TYPE_CHECKING:
    from edgead_tools.evaluation.entries import BenchmarkEntry

FIGURES = {  # name in JSON -> heading, form
    "image_auroc": ("image AUROC", ".3f"),
    "average_precision": ("AP", ".3f"),
    "f1": ("F1", ".3f"),
    "f1_max": ("F1-max", ".3f"),
    "pixel_auroc": ("pixel AUROC", ".3f"),
    "aupro": ("AUPRO 30 %", ".3f"),
    "au_spro": ("AU-sPRO 5 %", ".3f"),
    "false_alarm_rate": ("false alarms", ".1%"),
    "miss_rate": ("misses", ".1%"),
    "latency_ms": ("ms an image", ".1f"),
}
INTERVALS = {
    "image_auroc": "image_auroc_interval",
    "false_alarm_rate": "false_alarm_interval",
    "miss_rate": "miss_interval",
}
TILES = (
    "image_auroc",
    "f1",
    "f1_max",
    "pixel_auroc",
    "aupro",
    "au_spro",
    "false_alarm_rate",
    "miss_rate",
    "latency_ms",
)
TAKEN = ("created", "edgead")  # of the provenance, as it stands there


def shown(value: float | None, form: str) -> str:
    """A figure as text; a dash where there is none."""
    return "–" if value is None else format(value, form)


def interval(bounds: Sequence[float] | None, form: str) -> str:
    """A 95 % interval as text; nothing where there is none."""
    return "" if bounds is None else f"{format(bounds[0], form)} to {format(bounds[1], form)}"


def summary(entries: Sequence[BenchmarkEntry], averages: dict[str, dict[str, float | None]]) -> Section:
    """The figures: large ones of a single entry, a table of several."""
    if len(entries) == 1:
        found = entries[0].evaluation.to_dict()
        cells = [
            (FIGURES[name][0], shown(found[name], FIGURES[name][1]), beside(found, name))
            for name in TILES if found[name] is not None
        ]  # fmt: skip
        sentence = html.escape(_sentence(threshold_summary(entries[0].artifact.thresholds)))
        return Section("", f"{tiles(cells)}<p>{sentence}</p>")
    rows = [_row(one.model, one.category, one.evaluation.to_dict()) for one in entries]
    rows += [_row(model, "mean", figures) for model, figures in averages.items()]
    used = [0, 1, *(index for index in range(2, len(rows[0])) if any(row[index] != "–" for row in rows))]
    head = ["model", "category", *(heading for heading, _ in FIGURES.values())]
    strong = range(len(entries), len(rows))
    return Section("", table([head[i] for i in used], [[row[i] for i in used] for row in rows], strong=strong))


def beside(found: dict[str, Any], name: str) -> str:
    """What stands below a figure: its interval, or at which score it is reached."""
    if name in INTERVALS:
        return interval(found[INTERVALS[name]], FIGURES[name][1])
    if found[name] is None:
        return ""
    at = found.get("f1_max_score")
    words = {"f1": "NG above a score of 1", "f1_max": "" if at is None else f"NG from a score of {at:.2f} on"}
    return words.get(name, "")


def _row(model: str, category: str, found: dict[str, Any]) -> list[str]:
    cells = [_with(found[name], found.get(INTERVALS.get(name, "")), form) for name, (_, form) in FIGURES.items()]
    return [model, category, *cells]


def curves(entries: Sequence[BenchmarkEntry]) -> Section:
    """Histograms of each entry, and the ROC of all models of a category in one plot."""
    parts = []
    for category in dict.fromkeys(one.category for one in entries):
        ones = [one for one in entries if one.category == category]
        kinds = [("good", plots.GOOD), ("defective", plots.DEFECTIVE)]
        boxes = [plots.histogram(one.evaluation) + key([*kinds]) + _named(one, entries) for one in ones]
        names = [(one.model, plots.color(index)) for index, one in enumerate(ones)]
        boxes.append(plots.roc([one.evaluation for one in ones]) + (key(names) if len(ones) > 1 else ""))
        parts.append(side_by_side(boxes))
    return Section("Scores", "".join(parts))


def _named(one: BenchmarkEntry, entries: Sequence[BenchmarkEntry]) -> str:
    return "" if len(entries) == 1 else f"<br><small>{html.escape(f'{one.model} on {one.category}')}</small>"


def defects(entries: Sequence[BenchmarkEntry]) -> Section | None:
    """A table of the kinds of defect."""
    rows = [
        [
            one.model, one.category, kind.name, str(kind.images),
            _with(kind.image_auroc, kind.image_auroc_interval, ".3f"),
            shown(kind.pixel_auroc, ".3f"), shown(kind.aupro, ".3f"), shown(kind.au_spro, ".3f"),
            str(kind.missed), _with(kind.miss_rate, kind.miss_interval, ".1%"),
        ]
        for one in entries for kind in one.evaluation.kinds
    ]  # fmt: skip
    if not rows:
        return None
    head = ["model", "category", "defect", "images", "image AUROC", "pixel AUROC", "AUPRO 30 %", "AU-sPRO 5 %"]
    head += ["missed", "miss rate"]
    start = 0 if len(entries) > 1 else 2
    used = [i for i in range(start, len(head)) if any(row[i] != "–" for row in rows)]
    return Section("Kinds of defect", table([head[i] for i in used], [[row[i] for i in used] for row in rows]))


def _with(value: float | None, bounds: Sequence[float] | None, form: str) -> str:
    return shown(value, form) + (f"\n{interval(bounds, form)}" if bounds else "")


def images(entry: BenchmarkEntry, entries: Sequence[BenchmarkEntry]) -> Section | None:
    """The galleries of one entry."""
    if not entry.galleries:
        return None
    title = "Images" if len(entries) == 1 else f"Images: {entry.model} on {entry.category}"
    words = (
        "Left the image, its defect outlined where it is drawn; then the anomaly map on the color scale below; of "
        "missed defects also the map alone, its highest cell in the hottest color. A click enlarges a picture."
    )
    rows = "".join(gallery(row) for row in entry.galleries)
    return Section(title, f"<p><small>{words}</small></p>{plots.heat_scale()}{rows}{_every(entry)}")


def _every(entry: BenchmarkEntry) -> str:
    """A table of all images, the highest score first, closed until it is wanted."""
    ranked = sorted(entry.evaluation.judged, key=lambda one: -one.score)
    rows = [[one.path, one.label, f"{one.score:.3f}", "NG" if one.refused else "OK"] for one in ranked]
    head = ["image", "kind", "score", "verdict"]
    return f"<details><summary>All {len(rows)} images by score</summary>{table(head, rows)}</details>"


def provenance(entries: Sequence[BenchmarkEntry]) -> Section:
    """Where each bundle comes from, and how it was judged here."""
    return Section("Provenance", "".join(_entry_provenance(one) for one in entries))


def _entry_provenance(one: BenchmarkEntry) -> str:
    manifest, found = one.bundle.manifest, one.evaluation
    recorded = manifest.provenance
    config, data, training = (recorded.get(name) or {} for name in ("config", "data", "training"))
    method = " ".join(filter(None, [manifest.method, config.get("preset", "")]))
    rows = {
        "bundle": f"{manifest.name}, {one.bundle.digest}",
        "method": f"{method}, input {manifest.input.in_words()}",
        "judged by": f"{found.engine} in {found.precision}; pixel figures at the {found.resolution}'s resolution",
        "threshold": threshold_summary(one.artifact.thresholds),
        "trained on": f"{data['train']} good images (digest {data['digest'][:12]})" if "train" in data else "",
        "training": f"{training['steps']} steps, {training['seconds']:.0f} s" if "steps" in training else "",
        "seed": str(config.get("seed", "")),
        "versions": ", ".join(f"{name} {version}" for name, version in recorded.get("versions", {}).items()),
        "licenses": ", ".join(f"{name}: {license}" for name, license in recorded.get("licenses", {}).items()),
    } | {name: str(recorded.get(name, "")) for name in TAKEN}
    listed = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in rows.items() if text)
    return f"<h3>{html.escape(f'{one.model} on {one.category}')}</h3><dl>{listed}</dl>"


def notes(entries: Sequence[BenchmarkEntry], given: Sequence[str]) -> Section:
    """What is to be known to read the figures."""
    lines = [
        *given,
        "Intervals are 95 %: Clopper and Pearson's of rates, DeLong's of the image AUROC (Newcombe's where the classes "
        "are apart). F1 is at the bundle's threshold; F1-max takes the best threshold for these very images.",
        *(f"Left out: {one.path}: {one.reason}" for one in _left_out(entries)),
    ]
    return Section("Notes", f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in dict.fromkeys(lines))}</ul>")


def _left_out(entries: Sequence[BenchmarkEntry]) -> list[Any]:
    return [one for entry in entries for one in entry.evaluation.left_out]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
