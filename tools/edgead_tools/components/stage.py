"""`edgead components`: the first stage of a build alone, with a page of what it found."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edgead.errors import UsageError
from edgead_tools.components.classes import ComponentLabels, from_drawn
from edgead_tools.components.drawn import read_drawn
from edgead_tools.components.find import find_components
from edgead_tools.components.page import write_page
from edgead_tools.data import Cache, check, open_dataset, split
from edgead_tools.progress import Reporter
from edgead_tools.weights import find, load_state


def write_components(
    data: Path, page: Path, size: int, seed: int, weights: Path | None, reporter: Reporter
) -> ComponentLabels:
    """The components a build of the same data, size and seed would learn, shown on `page`; raises an EdgeadError."""
    if size % 32 or not 64 <= size <= 2048:
        raise UsageError(f"size must be a multiple of 32 between 64 and 2048, not {size}")
    dataset = open_dataset(data)
    with tempfile.TemporaryDirectory() as folder:
        with reporter.stage("checking images") as on_progress:
            cache = Cache(Path(folder) / "images.npy", size, size)
            checked = check((*dataset.train, *dataset.validation), cache=cache, on_progress=on_progress)
        train = split(checked.kept, seed, validation=dataset.validation).train
        assert checked.images is not None  # the check was given a cache
        images = np.asarray(checked.images[checked.rows(train)])
    drawn = read_drawn(dataset.root, train, size, size)
    if drawn is not None:
        found = from_drawn(drawn.names, drawn.labels, len(train))
    else:
        with reporter.stage("finding components"):
            found = find_components(images, load_state(find("efficientnet-lite0", weights)), seed)
    write_page(page, f"Components of {dataset.root.name}", images, found)
    return found
