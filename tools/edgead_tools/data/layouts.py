"""Opens a data set: a folder, a mapping of folders, or a YAML file with one.

    MVTec AD   train/good  test/{good,<defect>}  ground_truth/<defect>/<stem>_mask.png (or <stem>.png)
    LOCO       the same with validation/good and ground_truth/<kind>/<stem>/*.png, one file a defect
    folder     good images, directly in it or in a folder good, ok or normal; beside that, folders of defects
    mapping    anomalib's Folder keys, see `edgead_tools.data.mapping`; YAML has them at its top or under `data`

good, ok and normal mean the same everywhere, in any letter case. Folders of good images and of defects are read with
all folders below them, links are followed, and whatever is found and not used stands in the data set's `left`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgead.config.reading import read_yaml
from edgead.errors import DataError, UsageError
from edgead.images import EXTENSIONS
from edgead.listing import LeftOut, list_images
from edgead.wording import are, plural
from edgead_tools.data.files import folders_in, relative_name
from edgead_tools.data.mapping import open_mapping
from edgead_tools.data.masks import Masks, find_masks
from edgead_tools.data.samples import BAD_NAMES, GOOD, GOOD_NAMES, NOT_DEFECTS, Dataset, Layout, Sample

LOCO_KINDS = frozenset({"logical_anomalies", "structural_anomalies"})
SIDES = frozenset({"train", "validation", "test"})
_UNUSED = "only folders named good, ok or normal are learned from"


def open_dataset(source: str | os.PathLike[str] | Mapping[str, object]) -> Dataset:
    """The data set in a folder of a known layout, or described by anomalib's Folder keys or a YAML file of them.

    Files are listed, not read. Raises DataError when there is no good image to be found, UsageError for a
    mapping with a wrong key.
    """
    dataset = _open(source)
    if not any(sample.is_good for side in (dataset.train, dataset.validation, dataset.test) for sample in side):
        raise DataError(_nothing_good(dataset))
    return dataset


def open_labeled(source: str | os.PathLike[str] | Mapping[str, object], bad: str | os.PathLike[str] = "") -> Dataset:
    """The images to measure a bundle on: every layout `open_dataset` knows, good or defective images alone too.

    Where the test side has no good image and the layout has no training side of its own, the good images to learn
    from stand for them. With `bad`, `source` is a folder of good images and `bad` one of defective ones. Raises
    DataError where there is nothing to judge.
    """
    if bad:
        return _two_folders(Path(os.fspath(source)), Path(bad)) if not isinstance(source, Mapping) else _refuse_two()
    dataset = _open(source)
    if dataset.layout == "folder" and dataset.root.name.lower() in BAD_NAMES and not dataset.test:
        samples = tuple(Sample(one.path, one.name, dataset.root.name) for one in dataset.train)
        return Dataset(dataset.root, "folder", (), (), samples, dataset.left)
    has_good = any(sample.is_good for sample in dataset.test)
    good = () if has_good or (dataset.layout in ("mvtec", "loco") and dataset.test) else dataset.train
    test = (*good, *(_defects_beside(dataset) if dataset.layout == "folder" else dataset.test))
    if not test:
        raise DataError(_nothing_good(dataset))
    left = _used_after_all(dataset.left, test)
    return Dataset(dataset.root, dataset.layout, dataset.train, dataset.validation, test, left)


def _refuse_two() -> Dataset:
    raise UsageError("a second folder of defective images goes with a first of good ones")


def _two_folders(good: Path, bad: Path) -> Dataset:
    samples: list[Sample] = []
    left: list[LeftOut] = []
    root = Path(os.path.commonpath([good.resolve(), bad.resolve()]))
    if good.resolve() == bad.resolve():
        raise UsageError(f"{good} is given as good and as defective: give two folders")
    for folder, label in ((good.resolve(), GOOD), (bad.resolve(), bad.resolve().name)):
        listing = list_images(folder, deep=True)
        if not listing.images:
            raise DataError(f"there are no images in {folder}; looked for {_endings()}")
        left += listing.left
        for path in listing.images:
            kind = label if label == GOOD or path.parent == folder else path.relative_to(folder).parts[0]
            samples.append(Sample(path, relative_name(path, root), kind))
    return Dataset(root, "folder", (), (), tuple(samples), tuple(left))


def _open(source: str | os.PathLike[str] | Mapping[str, object]) -> Dataset:
    if isinstance(source, Mapping):
        return open_mapping(source)
    path = Path(source)
    if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
        return open_mapping(_read_keys(path))
    return _open_folder(path)


def _read_keys(path: Path) -> Mapping[str, object]:
    content = read_yaml(path)
    keys = content.get("data", content)
    if not isinstance(keys, dict):
        raise UsageError(f"{path} describes no data set: write root, normal_dir and abnormal_dir under `data:`")
    return keys


def _open_folder(folder: Path) -> Dataset:
    root = folder.resolve()
    inner = {path.name.lower(): path for path in folders_in(root)}
    if not inner.keys() & {"train", "test"}:
        train, left = _good(root, root)
        return Dataset(root, "folder", train, left=left)
    train, left = _good(inner["train"], root) if "train" in inner else ((), ())
    validation, more = _good(inner["validation"], root) if "validation" in inner else ((), ())
    test, others = _test(inner["test"], inner.get("ground_truth"), root) if "test" in inner else ((), ())
    outside = _unread(root, [path for name, path in inner.items() if name not in SIDES | NOT_DEFECTS])
    return Dataset(root, _kind(root, test), train, validation, test, (*left, *more, *others, *outside))


def _kind(root: Path, test: tuple[Sample, ...]) -> Layout:
    is_loco = (root / "defects_config.json").exists() or any(sample.label in LOCO_KINDS for sample in test)
    return "loco" if is_loco else "mvtec"


def _good(folder: Path, root: Path) -> tuple[tuple[Sample, ...], tuple[LeftOut, ...]]:
    """The good images of a side: in its folders named good, ok or normal; without such, directly in it."""
    here = list_images(folder)
    good = [path for path in here.folders if path.name.lower() in GOOD_NAMES]
    listings = [list_images(place, deep=True) for place in good] or [here]
    images = [image for listing in listings for image in listing.images]
    left = [one for listing in listings for one in listing.left]
    if good and here.images:
        left.append(_unused(folder, len(here.images), "directly in it", _UNUSED))
    left += _unread(root, [path for path in here.folders if path not in good and path.name.lower() not in NOT_DEFECTS])
    return tuple(Sample(image, relative_name(image, root)) for image in images), tuple(left)


def _unread(root: Path, folders: Sequence[Path]) -> list[LeftOut]:
    """The folders among `folders` that hold images, as left out."""
    counts = {folder: len(list_images(folder, deep=True).images) for folder in folders}
    return [_unused(folder, count, "in it", _UNUSED) for folder, count in counts.items() if count]


def _unused(folder: Path, count: int, where: str, why: str) -> LeftOut:
    return LeftOut(folder, f"{plural(count, 'image')} {where} {are(count)} not used: {why}", count)


def _test(folder: Path, truth: Path | None, root: Path) -> tuple[tuple[Sample, ...], tuple[LeftOut, ...]]:
    """The labeled images in the folders of `folder`, with their masks under `truth`."""
    here = list_images(folder)
    left = list(here.left)
    if here.images:
        left.append(_unused(folder, len(here.images), "directly in it", "put them into test/good or test/<defect>"))
    samples, others = _labeled(here.folders, truth, root)
    return samples, (*left, *others)


def _labeled(folders: Sequence[Path], truth: Path | None, root: Path) -> tuple[tuple[Sample, ...], tuple[LeftOut, ...]]:
    """The images in each folder and below it, labeled by its name, with the masks of the same name under `truth`."""
    samples: list[Sample] = []
    left: list[LeftOut] = []
    named: set[str] = set()
    for place in folders:
        listing = list_images(place, deep=True)
        left += listing.left
        if place.name.lower() in GOOD_NAMES:
            samples += [Sample(image, relative_name(image, root), GOOD) for image in listing.images]
            continue
        named.add(place.name)
        masks = find_masks(truth / place.name) if truth else Masks()
        samples += [
            Sample(image, relative_name(image, root), place.name, masks.of(image, place)) for image in listing.images
        ]
        left += masks.left(place, listing.images)
    for stray in folders_in(truth) if truth else []:
        if stray.name not in named and (count := len(list_images(stray, deep=True).images)):
            left.append(LeftOut(stray, f"{plural(count, 'mask')} and no folder of images has this name", count))
    return tuple(samples), tuple(left)


def _defects_beside(dataset: Dataset) -> tuple[Sample, ...]:
    """The defects in the folders beside good, ok or normal."""
    inner = folders_in(dataset.root)
    if not any(path.name.lower() in GOOD_NAMES for path in inner) and dataset.train:
        return ()
    defects = [path for path in inner if path.name.lower() not in GOOD_NAMES | NOT_DEFECTS]
    truth = next((path for path in inner if path.name.lower() == "ground_truth"), None)
    return _labeled(defects, truth, dataset.root)[0]


def _used_after_all(left: Sequence[LeftOut], test: Sequence[Sample]) -> tuple[LeftOut, ...]:
    """What is left when the folders of defects are read after all."""
    used = {parent for sample in test for parent in sample.path.parents}
    return tuple(one for one in left if one.path not in used or not one.reason.endswith(_UNUSED))


def _endings() -> str:
    return ", ".join(sorted(suffix.lstrip(".") for suffix in EXTENSIONS))


def _nothing_good(dataset: Dataset) -> str:
    """Why there is no good image, as far as the folder tells."""
    if any(dataset.test):
        labels = ", ".join(sorted({sample.label for sample in dataset.test}))
        return f"{dataset.root} has anomalous images only ({labels}): put good images under train/good"
    inner = folders_in(dataset.root)
    sets = [path.name for path in inner if (path / "train").is_dir()]
    if sets:
        return f"{dataset.root} holds several data sets: give one of them ({', '.join(sets)})"
    filled = [relative_name(one.path, dataset.root) for one in dataset.left if one.reason.endswith(_UNUSED)]
    if filled:
        return (
            f"{dataset.root} has images only in {', '.join(filled)}, and none of these is named good, ok or normal: "
            "give the folder of good images itself, or rename it"
        )
    left = "".join(f"; {relative_name(one.path, dataset.root)}: {one.reason}" for one in dataset.left)
    return (
        f"there are no images in {dataset.root}; looked for {_endings()}{left}: "
        "put images of good parts there, or name their folder"
    )
