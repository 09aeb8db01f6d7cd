"""Writes the page that shows the components that were found, before anything is trained on them."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.files import write_file
from edgead.html_page import page_template
from edgead.overlay import component_colors, paint
from edgead_tools.components.classes import ComponentLabels
from edgead_tools.data.logical import find_items

SHOWN = 12  # images of each kind
CUTS = 7  # examples of each component
SIDE = 64  # pixels of an example
OFTEN = 0.9  # of the labeled images, in which a component is to be
STEADY = 0.35  # spread of a component's area over its mean
BLOWN = 245  # gray level of every channel from which a pixel is white


def write_page(path: Path, title: str, images: NDArray[np.uint8], found: ComponentLabels) -> None:
    """Write a self-contained page: each class with its area and examples, then images with and without labels.

    `images` (N, H, W, 3) uint8 BGR are those whose indices `found` has.
    """
    labeled = [_figure(np.hstack([images[i], paint(images[i], found.labels[i])])) for i in list(found.labels)[:SHOWN]]
    other = [_figure(images[i]) for i in found.unlabeled[:SHOWN]]
    text = _PAGE.substitute(
        title=html.escape(title),
        summary=f"{len(found.names) - 1} found. {len(found.labels)} images are labeled, "
        f"{len(found.unlabeled)} more are used without labels.",
        doubted=_doubted(images, found),
        classes="".join(_row(number, images, found) for number in range(1, len(found.names))),
        labeled="".join(labeled),
        unlabeled="".join(other) or "<p>none</p>",
    )
    write_file(path, text.encode())


def doubts(number: int, images: NDArray[np.uint8], found: ComponentLabels) -> list[str]:
    """Why a class may be no component of the part: what differs from image to image, or has no color."""
    shares = found.shares()[:, number]
    there = shares[shares > 0]
    if not len(there):
        return ["it is in none of the labeled images"]
    said = []
    if len(there) < OFTEN * len(shares):
        said.append(f"it is in {len(there)} of {len(shares)} images only")
    if (spread := float(there.std() / there.mean())) > STEADY:
        said.append(f"its area varies by {spread:.0%}")
    levels = [images[index][labels == number].min(axis=-1) for index, labels in found.labels.items()]
    if float((np.concatenate(levels) >= BLOWN).mean()) > 0.5:
        said.append("most of it is white, as a reflection is")
    return said


def _doubted(images: NDArray[np.uint8], found: ComponentLabels) -> str:
    """A paragraph for each class that looks wrong, and what to do."""
    said = [(found.names[number], doubts(number, images, found)) for number in range(1, len(found.names))]
    lines = [
        f"<b>{html.escape(name)} may be no component:</b> {html.escape('; '.join(why))}." for name, why in said if why
    ]
    if lines:
        lines.append("Draw what is right as components/STEM.png in the data set, or try --masks and another --size.")
    return "".join(f"<p>{line}</p>" for line in lines)


def _row(number: int, images: NDArray[np.uint8], found: ComponentLabels) -> str:
    """A class: its color, its name, how much of the picture it covers, how often it is there, and examples."""
    shares = found.shares()[:, number]
    pieces = [len(find_items(np.where(one == number, one, 0).astype(np.uint8))) for one in found.labels.values()]
    blue, green, red = (int(value) for value in component_colors()[number])
    cuts = "".join(_figure(cut) for cut in _examples(number, images, found))
    return (
        f'<tr><td><i style="background:rgb({red},{green},{blue})"></i></td><td>{html.escape(found.names[number])}</td>'
        f"<td>{np.median(pieces):g} ({min(pieces)} to {max(pieces)})</td>"
        f"<td>{shares.mean():.2%} ± {shares.std():.2%}</td><td><div class=row>{cuts}</div></td></tr>"
    )


def _examples(number: int, images: NDArray[np.uint8], found: ComponentLabels) -> list[NDArray[np.uint8]]:
    cuts = []
    for index, labels in found.labels.items():
        for item in find_items(np.where(labels == number, labels, 0).astype(np.uint8))[:1]:
            x, y, width, height = cv2.boundingRect(item.mask.astype(np.uint8))
            piece = images[index][max(0, y - 4) : y + height + 4, max(0, x - 4) : x + width + 4]
            scale = SIDE / max(piece.shape[:2])
            size = (max(1, round(piece.shape[1] * scale)), max(1, round(piece.shape[0] * scale)))
            cuts.append(np.asarray(cv2.resize(piece, size, interpolation=cv2.INTER_AREA), np.uint8))
        if len(cuts) == CUTS:
            break
    return cuts


def _figure(image: NDArray[np.uint8]) -> str:
    raw = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(raw).decode()}" alt="">'


_PAGE = page_template(
    """\
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; } p { color: var(--dim); }
.row { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
.wide img { width: 340px; } .small img { width: 165px; } img { border-radius: 4px; display: block; }
table { background: var(--card); border: 1px solid var(--line); width: 100%; }
th, td { text-align: left; padding: 8px 12px; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 500; } i { display: block; width: 18px; height: 18px; border-radius: 4px; }
@media (max-width: 720px) { /* a class below the other, with what the head says behind its figures */
  tr:first-child { display: none; } tr { display: block; padding: 8px; border-bottom: 1px solid var(--line); }
  td { display: inline-block; border: 0; padding: 4px 6px; } td:last-child { display: block; }
  td:nth-child(3)::after { content: " pieces an image"; } td:nth-child(4)::after { content: " of the image"; }
  .wide img { width: 100%; } .small img { width: calc(50% - 4px); } }
""",
    """\
<p>$summary</p>
$doubted
<table><tr><th></th><th>component</th><th>pieces an image</th><th>share of the image</th><th>examples</th></tr>
$classes</table>
<h2>Labeled images</h2><div class="row wide">$labeled</div>
<h2>Images used without labels</h2><div class="row small">$unlabeled</div>
""",
    width=1080,
)
