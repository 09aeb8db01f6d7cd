"""Assembles a page of sections that is self-contained and makes no network request."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

from edgead.html_page import page_template
from edgead_tools.evaluation.report.galleries import Gallery


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the HTML below it; without a heading, what goes before the first."""

    title: str
    body: str


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    text = "".join((f"<h2>{html.escape(one.title)}</h2>" if one.title else "") + one.body for one in sections)
    return _PAGE.substitute(title=html.escape(title), body=text)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, strong: Sequence[int] = (), prose: bool = False
) -> str:
    """A table of plain texts, which are escaped and may have several lines; the rows in `strong` are bold. Columns are
    of figures, or of sentences where `prose`: these are wrapped, and on a telephone stand below each other."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    names = [f' data-name="{html.escape(name)}"' if prose else "" for name in head]
    body = "".join(
        f"<tr{' class=strong' if index in strong else ''}>"
        + "".join(f"<td{name}>{html.escape(cell)}</td>" for name, cell in zip(names, row, strict=True))
        + "</tr>"
        for index, row in enumerate(rows)
    )
    kind = " class=prose" if prose else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def tiles(figures: Sequence[tuple[str, str, str]]) -> str:
    """(name, value, interval) as large figures in a row."""
    return '<div class="tiles">{}</div>'.format(
        "".join(
            f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(name)}</span>'
            f"<small>{html.escape(interval)}</small></div>"
            for name, value, interval in figures
        )
    )


def key(names: Sequence[tuple[str, str]]) -> str:
    """(name, color) as a plot's key."""
    marks = (f'<i style="background:{color}"></i>{html.escape(name)}' for name, color in names)
    return f'<span class="key">{"".join(marks)}</span>'


def plots(boxes: Sequence[str]) -> str:
    """Plots beside each other."""
    return '<div class="plots">{}</div>'.format("".join(f"<div>{box}</div>" for box in boxes))


def gallery(row: Gallery) -> str:
    """A row of pictures under its title; each is enlarged by a click, without a script."""
    figures = "".join(
        f'<figure><label><input type="checkbox" aria-label="enlarge"><img alt="{html.escape(one.caption)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode()}"></label>'
        f"<figcaption>{html.escape(one.caption)}</figcaption></figure>"
        for one in row.images
    )
    return f'<h3>{html.escape(row.title)} <small>({row.count})</small></h3><div class="row">{figures}</div>'


_PAGE = page_template(
    """\
h1 { font-size: 26px; margin: 0 0 16px; } h2 { font-size: 19px; margin: 36px 0 8px; }
h3 { font-size: 15px; margin: 18px 0 6px; }
small, figcaption, .tile span, .key, li { color: var(--dim); }
.tiles, .row, .plots { display: flex; flex-wrap: wrap; gap: 12px; }
.tile, .plots > div, figure, .scroll { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.tile { padding: 12px 16px; flex: 1; min-width: 118px; } .tile b { display: block; font-size: 24px; }
.tile span, .tile small { display: block; }
.plots > div { padding: 14px; } .plots svg { display: block; height: 270px; max-width: 100%; }
.plots p { max-width: 340px; margin: 6px 0 0; }
@media (max-width: 560px) { .plots > div { flex: 1 1 100%; min-width: 0; } .plots svg { width: 100%; height: auto; } }
@media (prefers-color-scheme: dark) { .plots rect[fill-opacity] { fill-opacity: .85; } }
svg text { font-size: 12px; fill: var(--dim); } .frame { fill: none; stroke: var(--line); }
.line { fill: none; stroke-width: 2.5; } .tick { stroke: var(--line); }
.mark { stroke: var(--fg); stroke-dasharray: 4 3; }
figure { margin: 0; padding: 8px; width: 354px; max-width: 100%; box-sizing: border-box; }
figure img { display: block; border-radius: 4px; max-width: 100%; }
figcaption { font-size: 12px; margin-top: 4px; overflow-wrap: anywhere; max-width: 336px; }
figure label { cursor: zoom-in; } figure input { position: absolute; opacity: 0; width: 1px; height: 1px; }
figure input:focus-visible + img { outline: 3px solid var(--fg); }
figure input:checked + img { position: fixed; inset: 0; z-index: 1; width: 100vw; height: 100vh; max-width: none;
  object-fit: contain; background: #000d; border-radius: 0; cursor: zoom-out; }
.heat { max-width: 336px; font-size: 12px; color: var(--dim); }
.row + .heat { margin-top: 12px; } .heat i { display: block; height: 10px; border-radius: 2px; }
.heat p { display: flex; justify-content: space-between; margin: 2px 0 0; }
details { margin-top: 14px; } summary { cursor: pointer; font-weight: 600; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 4px 0 12px; }
.scroll { overflow-x: auto; } .scroll > svg { display: block; min-width: 560px; }
.sheet { fill: var(--card); }
table { width: 100%; font-size: 13px; }
th, td { padding: 6px 10px; text-align: right; vertical-align: top; white-space: pre;
  border-top: 1px solid var(--line); }
@media (max-width: 560px) { th, td { padding: 6px; } th, td:first-child { white-space: pre-line; } }
th { color: var(--dim); font-weight: 600; border-top: 0; } th:first-child, td:first-child { text-align: left; }
.prose th, .prose td { text-align: left; white-space: pre-line; overflow-wrap: anywhere; }
.prose td:first-child { font-weight: 600; min-width: 11em; } .prose th { white-space: nowrap; }
@media (max-width: 560px) { .prose thead { display: none; } .prose tr { display: block; padding: 6px 4px; }
  .prose td { display: block; border: 0; padding: 2px 6px; } .prose tr + tr { border-top: 1px solid var(--line); }
  .prose td + td::before { content: attr(data-name) ": "; color: var(--dim); } }
tr.strong td { font-weight: 600; } dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
""",
    """\
$body
""",
    width=1120,
)
