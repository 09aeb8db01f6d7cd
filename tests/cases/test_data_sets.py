"""Folders as people keep them: nothing in them is left out without a word, and `eval` takes what `build` takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from painted import save, save_many

from edgead.errors import DataError, UsageError
from edgead.stream.roi import read_roi
from edgead_tools.data import Sample, open_dataset, read_mask
from edgead_tools.data.foreground import read_foreground
from edgead_tools.evaluation.entries import split_paths

Output = tuple[int, str, str]
Command = Callable[..., Output]
WHITE = np.full((24, 32), 255, np.uint8)


def left(folder: Path) -> str:
    return "\n".join(str(one) for one in open_dataset(folder).left)


def test_masks_that_belong_to_no_image_are_said(tmp_path: Path) -> None:
    save_many(tmp_path / "test" / "good", 2)
    save_many(tmp_path / "test" / "broken", 3)
    for index in range(3):
        save(tmp_path / "ground_truth" / "broken" / f"{index}_gt.png", WHITE)
    save(tmp_path / "ground_truth" / "brocken" / "0_mask.png", WHITE)
    said = left(tmp_path)
    assert "3 of 3 masks belong to no image; looked for <image's name>_mask.png or <image's name>.png" in said
    assert "test/broken: 3 of 3 images have no mask, so that there are no pixel figures" in said
    assert "ground_truth/brocken: 1 mask and no folder of images has this name" in said


def test_images_in_deeper_folders_are_used_and_those_beside_them_said(tmp_path: Path) -> None:
    save_many(tmp_path / "train" / "good", 2)
    save_many(tmp_path / "train" / "good" / "morning", 3)
    save_many(tmp_path / "train" / "bent", 4)
    save(tmp_path / "train" / "loose.png", 1)
    save_many(tmp_path / "more", 5)
    save(tmp_path / "test" / "crack" / "cam1" / "0.png", 1)
    save(tmp_path / "ground_truth" / "crack" / "cam1" / "0_mask.png", WHITE)
    dataset = open_dataset(tmp_path)
    assert len(dataset.train) == 5
    assert [mask.name for sample in dataset.test for mask in sample.masks] == ["0_mask.png"]
    said = left(tmp_path)
    assert "train/bent: 4 images in it are not used" in said
    assert "train: 1 image directly in it is not used" in said
    assert "more: 5 images in it are not used" in said


def test_links_lead_out_of_the_data_set(tmp_path: Path) -> None:
    save_many(tmp_path / "disk", 3)
    (tmp_path / "e" / "train").mkdir(parents=True)
    (tmp_path / "e" / "train" / "good").symlink_to(tmp_path / "disk")
    assert [one.name for one in open_dataset(tmp_path / "e").train] == [f"train/good/{i}.png" for i in range(3)]
    good = tmp_path / "f" / "train" / "good"
    good.mkdir(parents=True)
    for path in (tmp_path / "disk").iterdir():
        (good / path.name).symlink_to(path)
    assert len(open_dataset(tmp_path / "f").train) == 3


@pytest.fixture
def drawn(tmp_path: Path) -> dict[str, Path]:
    """The upper half marked: white on black, in the alpha channel of a white picture, and as black strokes with it."""
    mask = np.zeros((24, 32), np.uint8)
    mask[:12] = 255
    plain, black = np.full((24, 32, 3), 255, np.uint8), np.zeros((24, 32, 3), np.uint8)
    pictures = {"gray": mask, "alpha": np.dstack([plain, mask]), "strokes": np.dstack([black, mask])}
    deep = np.dstack([plain, mask]).astype(np.uint16) * 257
    return {name: save(tmp_path / f"{name}.png", one) for name, one in {**pictures, "deep": deep}.items()}


def test_a_mask_drawn_as_transparency_is_what_is_opaque(drawn: dict[str, Path]) -> None:
    wanted = read_mask(Sample(drawn["gray"], "gray", "bent", (drawn["gray"],)))
    assert wanted.sum() == 12 * 32
    for name, path in drawn.items():
        assert np.array_equal(read_mask(Sample(path, name, "bent", (path,))), wanted), name
        assert np.array_equal(read_roi(str(path)).paint((24, 32)) > 127, wanted), name
        assert np.array_equal(read_foreground(path, (24, 32)) > 127, wanted), name


def test_a_photograph_is_no_area(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", 3)
    for read in (lambda: read_roi(str(photo)), lambda: read_foreground(photo, (24, 32))):
        with pytest.raises(DataError, match="is a photograph and no area"):
            read()


@pytest.fixture
def measured(edgead: Command, tiny_bundle: Path) -> Callable[..., tuple[dict[str, object], str]]:
    def call(*data: object) -> tuple[dict[str, object], str]:
        code, out, said = edgead("eval", tiny_bundle, *data, "--json", "--engine", "onnx")
        assert code == 0, said
        return json.loads(out), said

    return call


def draw(folder: Path, count: int, paint: Callable[[int], np.ndarray] = tiny.good) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index}.png"), paint(index))
    return folder


def test_eval_takes_every_layout_that_build_takes(tmp_path: Path, measured) -> None:
    draw(tmp_path / "a" / "OK", 4)
    draw(tmp_path / "a" / "ng" / "cracked", 3, tiny.bad)
    keys = tmp_path / "a.yaml"
    keys.write_text(f"data:\n  root: {tmp_path / 'a'}\n  normal_dir: OK\n  abnormal_dir: ng\n")
    for data in ((tmp_path / "a",), (keys,), (tmp_path / "a" / "OK", tmp_path / "a" / "ng")):
        found, said = measured(*data)
        assert (found["good"], found["defective"], found["image_auroc"], found["miss_rate"]) == (4, 3, 1.0, 0.0)
        assert ("look fewer than they are" in said) == (len(data) == 1)


def test_eval_measures_what_one_side_can_tell(tmp_path: Path, measured) -> None:
    draw(tmp_path / "i" / "test" / "bad", 3, tiny.bad)
    found, said = measured(tmp_path / "i")
    assert (found["good"], found["defective"], found["miss_rate"], found["image_auroc"]) == (0, 3, 0.0, None)
    assert "all 3 images are defective, so misses alone are measured" in said
    found, said = measured(draw(tmp_path / "fine", 4))
    assert (found["good"], found["false_alarm_rate"], found["miss_rate"]) == (4, 0.0, None)
    assert "all 4 images are taken as good" in said
    shutil.copytree(tmp_path / "i" / "test" / "bad", tmp_path / "NG")
    assert measured(tmp_path / "NG")[0]["defective"] == 3


def test_eval_says_what_it_was_not_given(tmp_path: Path) -> None:
    bundle, data = save(tmp_path / "a.png").rename(tmp_path / "a.edgead"), tmp_path
    with pytest.raises(UsageError, match="there is no bundle among the arguments"):
        split_paths([data])
    with pytest.raises(UsageError, match="give bundles first"):
        split_paths([bundle, data, data, data])
    assert split_paths([bundle, bundle, data]) == ([bundle, bundle], data, None)
