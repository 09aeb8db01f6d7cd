"""From a folder, or a mapping of folders, to a data set.

    MVTec AD   train/good  test/{good,<defect>}  ground_truth/<defect>/<stem>_mask.png (or <stem>.png)
    LOCO       the same with validation/good and ground_truth/<kind>/<stem>/*.png, one file a defect
    folder     good images, directly in it or in a folder good, ok or normal; other folders in it are not read
    mapping    anomalib's Folder keys, see `edgead_tools.data.mapping`

good, ok and normal mean the same everywhere, in any letter case. A data set without train but with good
test images can be opened: it is enough to evaluate on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgead.errors import DataError
from edgead.images import EXTENSIONS
from edgead_tools.data.files import folders_in, images_in, relative_name
from edgead_tools.data.mapping import open_mapping
from edgead_tools.data.samples import GOOD, GOOD_NAMES, Dataset, Layout, Sample

LOCO_KINDS = frozenset({"logical_anomalies", "structural_anomalies"})


def open_dataset(source: str | os.PathLike[str] | Mapping[str, object]) -> Dataset:
    """The data set in a folder of a known layout, or described by anomalib's Folder keys.

    Files are listed, not read. Raises DataError when there is no good image to be found, UsageError for a
    mapping with a wrong key.
    """
    dataset = open_mapping(source) if isinstance(source, Mapping) else _open_folder(Path(source))
    if not any(sample.is_good for side in (dataset.train, dataset.validation, dataset.test) for sample in side):
        raise DataError(_nothing_good(dataset))
    return dataset


def _open_folder(folder: Path) -> Dataset:
    root = folder.resolve()
    inner = {path.name.lower(): path for path in folders_in(root, root)}
    if "train" not in inner and "test" not in inner:
        return Dataset(root, "folder", _good(root, root))
    train = _good(inner["train"], root) if "train" in inner else ()
    validation = _good(inner["validation"], root) if "validation" in inner else ()
    test = _test(inner["test"], inner.get("ground_truth"), root) if "test" in inner else ()
    return Dataset(root, _kind(root, test), train, validation, test)


def _kind(root: Path, test: tuple[Sample, ...]) -> Layout:
    is_loco = (root / "defects_config.json").exists() or any(sample.label in LOCO_KINDS for sample in test)
    return "loco" if is_loco else "mvtec"


def _good(folder: Path, root: Path) -> tuple[Sample, ...]:
    """The good images of a side: in its folders named good, ok or normal; without such, directly in it."""
    good = [path for path in folders_in(folder, root) if path.name.lower() in GOOD_NAMES]
    images = [image for place in good or [folder] for image in images_in(place, root)]
    return tuple(Sample(image, relative_name(image, root)) for image in images)


def _test(folder: Path, truth: Path | None, root: Path) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for place in folders_in(folder, root):
        images = images_in(place, root)
        if place.name.lower() in GOOD_NAMES:
            samples += [Sample(image, relative_name(image, root), GOOD) for image in images]
            continue
        masks = find_masks(truth / place.name, root) if truth else {}
        samples += [
            Sample(image, relative_name(image, root), place.name, masks.get(image.stem, ())) for image in images
        ]
    return tuple(samples)


def find_masks(folder: Path, root: Path) -> dict[str, tuple[Path, ...]]:
    """The mask files of one defect, by the stem of the image they belong to; none where there is no such folder."""
    if not folder.is_dir():
        return {}
    masks: dict[str, tuple[Path, ...]] = {}
    for path in images_in(folder, root):
        masks[path.stem.removesuffix("_mask")] = (path,)
    for inner in folders_in(folder, root):
        if parts := tuple(images_in(inner, root)):
            masks[inner.name] = parts
    return masks


def _nothing_good(dataset: Dataset) -> str:
    """Why there is no good image, as far as the folder tells."""
    kinds = ", ".join(sorted(suffix.lstrip(".") for suffix in EXTENSIONS))
    if any(dataset.test):
        labels = ", ".join(sorted({sample.label for sample in dataset.test}))
        return f"{dataset.root} has anomalous images only ({labels}): put good images under train/good"
    inner = folders_in(dataset.root, dataset.root)
    sets = [path.name for path in inner if (path / "train").is_dir()]
    if sets:
        return f"{dataset.root} holds several data sets: give one of them ({', '.join(sets)})"
    filled = [path.name for path in inner if images_in(path, dataset.root)]
    if filled:
        return (
            f"{dataset.root} has images only in {', '.join(filled)}, and none of these is named good, ok or normal: "
            "give the folder of good images itself, or rename it"
        )
    return (
        f"there are no images in {dataset.root}; looked for {kinds}: "
        "put images of good parts there, or name their folder"
    )
