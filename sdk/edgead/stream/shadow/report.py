"""Shows how a shadow compared: in a few lines, and as a page that carries its pictures in itself."""

from __future__ import annotations

import base64
import html
import json
import math
from pathlib import Path
from typing import Any

from edgead.html_page import page_template
from edgead.stream.shadow.record import Summary, disagreements

SHOWN = 60  # disagreements on a page


def share_interval(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    if of == 0:
        return 0.0, 1.0
    z, share = 1.959964, count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def rows_of(summary: Summary) -> list[list[str]]:
    """The comparison as the rows of a table, names first."""
    judged, agreed = summary.judged, summary.agreed
    low, high = share_interval(agreed, judged)
    share = f"{agreed / judged:.2%} of {judged} (95 % interval {low:.2%} to {high:.2%})" if judged else "no frame yet"
    rows = [["agree on", share]]
    for (line, shadow), count in sorted(summary.matrix().items(), key=lambda item: -item[1]):
        if line != shadow:
            rows.append([f"line {line}, shadow {shadow}", str(count)])
    for name, times in (("line", summary.line_latency_ms), ("shadow", summary.latency_ms)):
        if times:
            rows.append([f"ms on a frame, {name}", f"p50 {times['p50']}, p95 {times['p95']}, p99 {times['p99']}"])
    rows.append(["left out by the shadow", str(summary.skipped)])
    return rows


def page_of(name: str, record: Path, summary: Summary) -> str:
    """The page of a comparison; `name` is the shadow's."""
    places = disagreements(record)
    table = "".join(f"<tr><th>{html.escape(a)}</th><td>{html.escape(b)}</td></tr>" for a, b in rows_of(summary))
    figures = "".join(_figure(place) for place in places[:SHOWN])
    shown = f"The newest {min(SHOWN, len(places))} of {len(places)} that are kept." if places else "There are none."
    return _PAGE.substitute(
        title=html.escape(f"{name} as shadow of {summary.line[:12]}"), table=table, shown=shown, figures=figures
    )


def _figure(place: Path) -> str:
    said = json.loads((place / "result.json").read_bytes())
    pictures = "".join(
        f'<figure><img alt="{kind}" src="data:image/jpeg;base64,{_encoded(place / f"{kind}.jpg")}">'
        f"<figcaption>{kind}: {_said(said[kind])}</figcaption></figure>"
        for kind in ("line", "shadow")
    )
    return f"<h3>{html.escape(place.name)}</h3><div>{pictures}</div>"


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _said(result: dict[str, Any]) -> str:
    return html.escape(f"{result['verdict']} {result['score']:.2f}")


_PAGE = page_template(
    """\
td, th { padding: 4px 14px 4px 0; text-align: left; vertical-align: top; }
th { color: var(--dim); font-weight: 500; } h3 { font-size: 14px; margin: 20px 0 6px; overflow-wrap: anywhere; }
div { display: flex; flex-wrap: wrap; gap: 12px; }
figure { margin: 0; padding: 8px; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
figure { flex: 1 1 300px; } img { width: 100%; border-radius: 4px; } figcaption { color: var(--dim); }
""",
    """\
<table>$table</table><h2>Disagreements</h2><p>$shown</p>$figures
""",
    width=1040,
)
