"""Implements `edgead components`: the first stage of a build alone, with a page of what it found."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edgead.config import BuildConfig
from edgead.errors import UsageError
from edgead.progress import Reporter
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components.classes import ComponentLabels, from_drawn
from edgead_tools.components.drawn import Drawn, read_drawn
from edgead_tools.components.find import choose_proposals, find_components, source_named
from edgead_tools.components.page import write_page
from edgead_tools.data import Cache, DecodedImages, check, open_dataset, split
from edgead_tools.training.session import check_device, session

SIDE = 256  # pixels of the input where none is given


def write_components(
    config: BuildConfig, page: Path, reporter: Reporter, *, masks: str = "foreground"
) -> ComponentLabels:
    """The components a build of the same data, size, seed and masks would learn, shown on `page`.

    The configuration's weights are a folder, or the file of the masks' SAM, of the search's own network where there is
    no SAM. Raises an EdgeadError.
    """
    if page.exists() and page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{page} would be overwritten: give the page a name that ends in .html")
    check_device(config.device)
    height, width = config.input_size or (SIDE, SIDE)
    weights = Path(config.weights) if config.weights else None
    source = source_named(masks)
    if source != "foreground":
        find(source, weights)  # what is missing is said before the images are read
    others = source != "foreground" and weights is not None and weights.is_file()
    trunk = find("efficientnet-lite0", None if others else weights)
    dataset = open_dataset(config.data)
    with tempfile.TemporaryDirectory() as folder:
        with reporter.stage("checking images") as on_progress:
            decoded = DecodedImages()
            cache = Cache(Path(folder) / "images.npy", height, width)
            checked = check(
                (*dataset.train, *dataset.validation), cache=cache, decoded=decoded, on_progress=on_progress
            )
        train = split(checked.accepted, config.seed, validation=dataset.validation).train
        assert checked.images is not None  # the check was given a cache
        images = np.asarray(checked.images[checked.rows(train)])
    drawn = read_drawn(dataset.root, train, height, width, decoded) or Drawn()
    with reporter.stage("finding components"), session(config.device, 0):
        proposals = choose_proposals(source, weights, config.device, given=bool(drawn.labels or drawn.masks))
        if drawn.labels:
            found = from_drawn(drawn.names, drawn.labels, len(train))
        else:
            found = find_components(images, load_state(trunk), config.seed, proposals=proposals, masks=drawn.masks)
    write_page(page, f"Components of {dataset.root.name}", images, found)
    return found
