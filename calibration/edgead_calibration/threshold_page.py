"""The page on which an operating point is chosen. It carries everything in itself and makes no network request."""

from __future__ import annotations

import html
import json
from dataclasses import asdict

from edgead.bundle import Manifest
from edgead.html_page import page_template
from edgead_calibration.operating_point import OperatingPoints


def threshold_page(manifest: Manifest, bundle: str, points: OperatingPoints) -> str:
    """The page for a bundle's file name."""
    side = min(manifest.detection.frame) if manifest.detection is not None else 1
    unit, factor = ("mm", side * manifest.mm_per_pixel) if manifest.mm_per_pixel > 0 else ("pixels", float(side))
    known = {
        "bundle": bundle,
        "unit": unit,
        "edges": [edge * factor for edge in points.edges],
        "points": [asdict(point) for point in points.points],
        "good": sorted(points.good.tolist()),
        "planted": sorted(one.score for one in points.planted),
        "labeled": sorted(points.labeled),
        "current": manifest.artifact("fp32").thresholds.image,
        "cheapest": points.cheapest.score,
        "costs": asdict(points.costs),
    }
    data = json.dumps(known).replace("<", "\\u003c")
    return _PAGE.substitute(title=html.escape(f"{manifest.name}: threshold"), data=data)


_PAGE = page_template(
    """\
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 16px; margin: 12px 0; }
input[type=range] { width: 100%; margin: 4px 0; } svg { width: 100%; height: 120px; display: block; }
label { display: inline-block; margin: 0 16px 8px 0; } input:not([type=range]) { width: 9em; }
button { padding: 4px 12px; }
.scale { display: flex; justify-content: space-between; margin: 0; }
[hidden] { display: none !important; } .scale, .key { color: var(--dim); font-size: 13px; } .key { margin: 0 0 12px; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 5px; }
.key span { display: inline-block; margin-right: 14px; }
td, th { padding: 4px 14px 4px 0; text-align: left; }
th { color: var(--dim); font-weight: 500; } code { overflow-wrap: anywhere; }
""",
    """\
<section><p class="key"><span><i style="background:#009e73"></i>good parts</span>
<span><i style="background:#d55e00"></i>planted defects</span>
<span id="known" hidden><i style="background:#cc79a7"></i>your defects</span></p>
<svg id="plot" viewBox="0 0 800 120" preserveAspectRatio="none" role="img" aria-label="scores"></svg>
<input type="range" id="at" min="0" step="1" aria-label="threshold">
<p class="scale"><span id="low"></span><span>score</span><span id="high"></span></p>
<p>Image threshold <b id="score"></b>
<button id="now">as it is</button> <button id="best">least cost</button></p></section>
<section><table><tbody id="facts"></tbody></table></section>
<section><p><label>a miss costs <input id="miss" type="number" min="0" step="any" size="6"></label>
<label>a false alarm costs <input id="alarm" type="number" min="0" step="any" size="6"></label>
<label>defective parts <input id="rate" type="number" min="0" max="1" step="any" size="7"></label></p>
<p>Expected cost a part: <b id="cost"></b></p></section>
<section><p>This page changes nothing. Write the threshold into the bundle by this command:</p>
<p><code id="command"></code></p>
<p><label>who <input id="by" maxlength="40"></label> <label>why <input id="why" maxlength="80"></label></p></section>
<script>
const known = $data;
const byId = (id) => document.getElementById(id), points = known.points;
const percent = (value) => (100 * value).toFixed(value < 0.1 ? 2 : 1) + " %";
const low = points[0].score, high = points[points.length - 1].score;
const across = (score) => Math.max(0, Math.min(800, 800 * (score - low) / (high - low)));
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
function cost(point) {
  const rates = [];
  if (point.found.length) rates.push(mean(point.found));
  if (point.labeled !== null) rates.push(point.labeled);
  const rate = Number(byId("rate").value), found = rates.length ? mean(rates) : 1;
  return (1 - rate) * point.false_alarms * byId("alarm").value + rate * (1 - found) * byId("miss").value;
}
function said(option) {
  const value = byId(option).value.trim();
  return value ? ` --$${option} '$${value.replaceAll("'", "'\\\\''")}'` : "";
}
function ticks(scores, y, color) {
  const rest = `y1="$${y}" y2="$${y + 26}" stroke="$${color}" stroke-width="2" opacity="0.7"
    vector-effect="non-scaling-stroke"/>`;
  return scores.map((score) => `<line x1="$${across(score)}" x2="$${across(score)}" ` + rest).join("");
}
function row(name, value) {
  const line = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td");
  head.textContent = name; cell.textContent = value; line.append(head, cell); return line;
}
function show() {
  const point = points[byId("at").value], x = across(point.score), text = point.score.toPrecision(6);
  byId("score").textContent = text;
  byId("plot").innerHTML = ticks(known.good, 4, "#009e73") + ticks(known.planted, 44, "#d55e00")
    + ticks(known.labeled, 84, "#cc79a7") + `<line x1="$${x}" x2="$${x}" y1="0" y2="120" stroke="currentColor"
      stroke-width="2" vector-effect="non-scaling-stroke"/>`;
  const rows = [row("false alarms expected", percent(point.false_alarms)),
    row("95 % interval, from good images", point.interval.map(percent).join(" to "))];
  point.found.forEach((share, index) => rows.push(row(`found of $${known.edges[index].toPrecision(3)} to `
    + `$${known.edges[index + 1].toPrecision(3)} $${known.unit}`, percent(share))));
  if (point.labeled !== null) rows.push(row("found of the labeled defects", percent(point.labeled)));
  byId("facts").replaceChildren(...rows);
  byId("cost").textContent = cost(point).toPrecision(3);
  byId("command").textContent = `edgead threshold $${known.bundle} --score $${text}` + said("by") + said("why");
}
function go(score) {
  const gaps = points.map((point) => Math.abs(point.score - score));
  byId("at").value = gaps.indexOf(Math.min(...gaps)); show();
}
byId("at").max = points.length - 1;
byId("low").textContent = low.toPrecision(3);
byId("high").textContent = high.toPrecision(3);
byId("known").hidden = known.labeled.length === 0;
byId("miss").value = known.costs.miss;
byId("alarm").value = known.costs.alarm;
byId("rate").value = known.costs.defect_rate;
for (const id of ["at", "miss", "alarm", "rate", "by", "why"]) byId(id).addEventListener("input", show);
byId("now").addEventListener("click", () => go(known.current));
const cheaper = (best, point) => cost(point) < cost(best) ? point : best;
byId("best").addEventListener("click", () => go([...points].reverse().reduce(cheaper).score));
go(known.current);
</script>""",
    width=900,
    has_script=True,
)
