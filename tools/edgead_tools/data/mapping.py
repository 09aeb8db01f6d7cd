"""Reads anomalib's Folder keys: a data set described by the folders it lies in.

    root             what the others are relative to; without it, relative to the working folder
    normal_dir       good images to learn from (required)
    normal_test_dir  good images to judge
    abnormal_dir     anomalous images to judge; the label is the name of the folder an image lies in
    mask_dir         one for each abnormal_dir: same folders below, named <stem>.png or <stem>_mask.png
    extensions       file endings to look for; default: all that can be read

Every *_dir may be one folder or a list, and is searched with all folders below it, as anomalib does.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from edgead.errors import DataError, UsageError, nearest
from edgead.images import EXTENSIONS
from edgead.listing import LeftOut, list_images
from edgead_tools.data.files import relative_name
from edgead_tools.data.masks import Masks, find_masks
from edgead_tools.data.samples import GOOD_NAMES, Dataset, Sample

KEYS = ("root", "normal_dir", "normal_test_dir", "abnormal_dir", "mask_dir", "extensions")


def open_mapping(source: Mapping[str, object]) -> Dataset:
    """The data set `source` describes; raises UsageError for a wrong key or value, DataError for a wrong folder."""
    for key in source:
        if key not in KEYS:
            raise UsageError(f"a data set has no key '{key}': {nearest(str(key), KEYS)}")
    folders = {key: _folders(source, key) for key in KEYS if key.endswith("_dir")}
    if not folders["normal_dir"]:
        raise UsageError("normal_dir is missing: name the folder of good images to learn from")
    root = _root(source, folders["normal_dir"])
    extensions = _extensions(source)
    left: list[LeftOut] = []
    train = _good(folders["normal_dir"], root, extensions, left)
    if not train:
        places, kinds = ", ".join(map(str, folders["normal_dir"])), ", ".join(sorted(extensions))
        raise DataError(
            f"there are no images in {places}; looked for {kinds}: put images of good parts there, or name their folder"
        )
    good = _good(folders["normal_test_dir"], root, extensions, left)
    anomalous = _anomalous(folders["abnormal_dir"], folders["mask_dir"], root, extensions, left)
    _forbid_overlap(train, (*good, *anomalous))
    _forbid_overlap(good, anomalous)
    return Dataset(root, "mapping", train, (), (*good, *anomalous), tuple(left))


def _good(folders: list[Path], root: Path, extensions: Collection[str], left: list[LeftOut]) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for folder in folders:
        listing = list_images(folder, extensions, deep=True)
        left += listing.left
        samples += [Sample(image, relative_name(image, root)) for image in listing.images]
    return tuple(samples)


def _anomalous(
    folders: list[Path], mask_folders: list[Path], root: Path, extensions: Collection[str], left: list[LeftOut]
) -> tuple[Sample, ...]:
    if mask_folders and len(mask_folders) != len(folders):
        raise UsageError(
            f"mask_dir names {len(mask_folders)} folders and abnormal_dir {len(folders)}: give one for each"
        )
    samples: list[Sample] = []
    for index, folder in enumerate(folders):
        masks = find_masks(mask_folders[index]) if mask_folders else Masks()
        listing = list_images(folder, extensions, deep=True)
        for image in listing.images:
            label = image.parent.name
            if label.lower() in GOOD_NAMES:
                raise DataError(f"abnormal_dir reaches {image}, in a folder named {label}: name the folders of defects")
            samples.append(Sample(image, relative_name(image, root), label, masks.of(image, folder)))
        left += [*listing.left, *masks.left(folder, listing.images)]
    return tuple(samples)


def _forbid_overlap(some: tuple[Sample, ...], others: tuple[Sample, ...]) -> None:
    for path in sorted({sample.path for sample in some} & {sample.path for sample in others}):
        raise DataError(f"{path} is reached by two keys of the data set: give every folder one meaning")


def _root(source: Mapping[str, object], normal: list[Path]) -> Path:
    """What names are relative to: `root`, or the first folder of good images' parent."""
    root = source.get("root")
    return Path(root).resolve() if isinstance(root, str | os.PathLike) else normal[0].parent


def _folders(source: Mapping[str, object], key: str) -> list[Path]:
    """The folders under `key`, resolved against `root`."""
    root = source.get("root") or "."
    values = _list(source.get(key), key)
    if not isinstance(root, str | os.PathLike):
        raise UsageError(f"root must be a folder, not {root!r}")
    folders = [Path(root, value).resolve() for value in values]
    if len(set(folders)) < len(folders):
        raise UsageError(f"{key} names a folder twice")
    return folders


def _extensions(source: Mapping[str, object]) -> frozenset[str]:
    endings = {"." + value.lower().lstrip(".") for value in _list(source.get("extensions"), "extensions")}
    for ending in sorted(endings - EXTENSIONS):
        raise UsageError(f"files ending in {ending} cannot be read: {nearest(ending, EXTENSIONS)}")
    return frozenset(endings) or EXTENSIONS


def _list(value: object, key: str) -> list[str]:
    """One value or a sequence of them, as text."""
    if value is None:
        return []
    values = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(values, list | tuple) or not all(isinstance(item, str | os.PathLike) for item in values):
        raise UsageError(f"{key} must be text or a list of texts, not {value!r}")
    return [os.fspath(item) for item in values]
