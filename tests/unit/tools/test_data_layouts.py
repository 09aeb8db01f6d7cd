"""Layouts of data sets on disk, and what is said about folders that are none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from painted import save, save_many

from edgead.errors import DataError, UsageError
from edgead.images import natural
from edgead_tools.data import Dataset, Sample, open_dataset

WHITE = np.full((8, 8), 255, np.uint8)


def names(samples: tuple[Sample, ...]) -> list[str]:
    return [sample.name for sample in samples]


def touch(path: Path) -> Path:
    """A file that is only listed, never read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_mvtec_is_read_with_its_masks(tmp_path: Path) -> None:
    save_many(tmp_path / "train" / "good", 3)
    save_many(tmp_path / "test" / "good", 2)
    save_many(tmp_path / "test" / "crack", 2)
    save(tmp_path / "ground_truth" / "crack" / "0_mask.png", WHITE)
    save(tmp_path / "ground_truth" / "crack" / "1.png", WHITE)  # as VisA is usually rearranged
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.root) == ("mvtec", tmp_path)
    assert names(dataset.train) == ["train/good/0.png", "train/good/1.png", "train/good/2.png"]
    assert [(sample.label, sample.is_good) for sample in dataset.test] == [("crack", False)] * 2 + [("good", True)] * 2
    assert [mask.name for sample in dataset.test for mask in sample.masks] == ["0_mask.png", "1.png"]
    assert dataset.has_masks


def test_one_missing_mask_means_the_set_has_no_masks(tmp_path: Path) -> None:
    save_many(tmp_path / "train" / "good", 1)
    save_many(tmp_path / "test" / "crack", 2)
    save(tmp_path / "ground_truth" / "crack" / "0_mask.png", WHITE)
    dataset = open_dataset(tmp_path)
    assert [len(sample.masks) for sample in dataset.test] == [1, 0]
    assert not dataset.has_masks


def test_loco_is_read_with_its_validation_side_and_mask_folders(tmp_path: Path) -> None:
    for side in ("train/good", "validation/good", "test/good", "test/logical_anomalies", "test/structural_anomalies"):
        save_many(tmp_path / side, 2)
    for kind, stem, part in (("logical", 0, 0), ("logical", 0, 1), ("logical", 1, 0), ("structural", 0, 0)):
        save(tmp_path / "ground_truth" / f"{kind}_anomalies" / str(stem) / f"00{part}.png", WHITE)
    (tmp_path / "defects_config.json").write_text("[]")
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "loco"
    assert names(dataset.validation) == ["validation/good/0.png", "validation/good/1.png"]
    assert [len(sample.masks) for sample in dataset.test if not sample.is_good] == [2, 1, 1, 0]


@pytest.mark.parametrize("good", ["good", "ok", "normal", "OK", "Normal"])
def test_every_word_for_good_means_good(tmp_path: Path, good: str) -> None:
    touch(tmp_path / "split" / "Train" / good / "a.png")
    touch(tmp_path / "split" / "test" / good / "b.png")
    dataset = open_dataset(tmp_path / "split")
    assert [sample.label for sample in (*dataset.train, *dataset.test)] == ["good", "good"]
    touch(tmp_path / "plain" / good / "a.png")
    touch(tmp_path / "plain" / "scratched" / "b.png")
    assert names(open_dataset(tmp_path / "plain").train) == [f"{good}/a.png"]


def test_a_flat_folder_takes_every_format_in_any_letter_case(tmp_path: Path) -> None:
    wanted = ["1.png", "2.JPG", "3.jpeg", "4.Bmp", "5.tif", "6.TIFF", "7.webp"]
    for name in [*wanted, "notes.txt", "8.gif", ".9.png", "._10.jpg"]:
        touch(tmp_path / name)
    dataset = open_dataset(str(tmp_path))
    assert (dataset.layout, names(dataset.train), dataset.test) == ("folder", wanted, ())


def test_order_is_natural(tmp_path: Path) -> None:
    for name in ("img10.png", "img9.png", "IMG1.png", "img01.png", "img1.png"):
        touch(tmp_path / name)
    assert names(open_dataset(tmp_path).train) == ["IMG1.png", "img01.png", "img1.png", "img9.png", "img10.png"]


@given(
    st.lists(st.text("aAß1²0.", max_size=5), max_size=12).flatmap(lambda w: st.tuples(st.just(w), st.permutations(w)))
)
@settings(max_examples=50, deadline=None)
def test_natural_order_does_not_depend_on_the_listing(listings: tuple[list[str], list[str]]) -> None:
    one, other = listings
    assert sorted(one, key=natural) == sorted(other, key=natural)


def test_links_are_followed_and_those_that_lead_nowhere_said(tmp_path: Path) -> None:
    outside = touch(tmp_path / "outside" / "a.png")
    root = tmp_path / "set"
    touch(root / "shelf" / "b.png")
    (root / "train").mkdir()
    (root / "train" / "good").symlink_to(root / "shelf")
    (root / "shelf" / "c.png").symlink_to(outside)
    (root / "shelf" / "d.png").symlink_to(root / "shelf" / "b.png")
    (root / "shelf" / "e.png").symlink_to(root / "nowhere.png")
    dataset = open_dataset(root)
    assert names(dataset.train) == ["train/good/b.png", "train/good/c.png", "train/good/d.png"]
    assert [(one.path.name, one.reason) for one in dataset.left if one.path.name == "e.png"] == [
        ("e.png", "is a link that leads nowhere")
    ]
    (tmp_path / "link").symlink_to(root)
    assert open_dataset(tmp_path / "link").root == root


def test_a_data_set_to_judge_needs_no_training_side(tmp_path: Path) -> None:
    touch(tmp_path / "test" / "good" / "a.png")
    touch(tmp_path / "test" / "bent" / "b.png")
    dataset = open_dataset(tmp_path)
    assert dataset.train == ()
    assert len(dataset.test) == 2


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "there are no images in .*; looked for bmp, .*, webp: put images of good parts there"),
        (["readme.txt", "a.gif"], "there are no images in .*1 .gif file is not read: save as png, tif or jpg"),
        (["test/bent/a.png"], r"anomalous images only \(bent\)"),
        (["bent/a.png", "scratch/b.png"], "only in bent, scratch, and none of these is named good, ok or normal"),
        (["bottle/train/good/a.png", "cable/train/good/a.png"], r"several data sets.*\(bottle, cable\)"),
        (["train/bent/a.png"], "only in train/bent, and none of these is named good, ok or normal"),
    ],
)
def test_folders_without_good_images_are_explained(tmp_path: Path, files: list[str], words: str) -> None:
    for name in files:
        touch(tmp_path / name)
    with pytest.raises(DataError, match=words):
        open_dataset(tmp_path)


def test_a_missing_folder_and_a_file_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match="is a file"):
        open_dataset(touch(tmp_path / "a.png"))


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    """good/, more/, holdback/, bad/{bent,torn}/ and masks/{bent,torn}/."""
    save_many(tmp_path / "good" / "monday", 2)
    save_many(tmp_path / "more", 1)
    save_many(tmp_path / "holdback", 1)
    save_many(tmp_path / "bad" / "bent", 1)
    save_many(tmp_path / "bad" / "torn", 1)
    save(tmp_path / "masks" / "bent" / "0.png", WHITE)
    save(tmp_path / "masks" / "torn" / "0_mask.png", WHITE)
    return tmp_path


def test_a_mapping_describes_a_data_set_as_anomalib_does(factory: Path) -> None:
    dataset = open_dataset(
        {
            "root": str(factory),
            "normal_dir": ["good", Path("more")],
            "normal_test_dir": "holdback",
            "abnormal_dir": "bad",
            "mask_dir": "masks",
            "extensions": [".png", "JPG"],
        }
    )
    assert dataset.layout == "mapping"
    assert names(dataset.train) == ["good/monday/0.png", "good/monday/1.png", "more/0.png"]
    assert [(sample.name, sample.label) for sample in dataset.test] == [
        ("holdback/0.png", "good"),
        ("bad/bent/0.png", "bent"),
        ("bad/torn/0.png", "torn"),
    ]
    assert [mask.parent.name for sample in dataset.test for mask in sample.masks] == ["bent", "torn"]
    assert dataset.has_masks


def test_a_mapping_pairs_lists_of_folders_and_needs_no_root(factory: Path) -> None:
    dataset = open_dataset(
        {
            "normal_dir": factory / "good",
            "abnormal_dir": [str(factory / "bad" / "torn"), str(factory / "bad" / "bent")],
            "mask_dir": [str(factory / "masks" / "torn"), str(factory / "masks" / "bent")],
            "root": None,
        }
    )
    assert dataset.root == factory
    assert [(sample.label, sample.masks[0].name) for sample in dataset.test] == [
        ("torn", "0_mask.png"),
        ("bent", "0.png"),
    ]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"normal_dirs": "good"}, UsageError, "no key 'normal_dirs': did you mean 'normal_dir'"),
        ({"normal_dir": None}, UsageError, "normal_dir is missing"),
        ({"normal_dir": 3}, UsageError, "normal_dir must be text or a list"),
        ({"root": 3}, UsageError, "root must be a folder"),
        ({"normal_dir": ["good", "good"]}, UsageError, "names a folder twice"),
        ({"extensions": [".gif"]}, UsageError, "ending in .gif cannot be read"),
        ({"abnormal_dir": ["bad/bent", "bad/torn"], "mask_dir": "masks"}, UsageError, "mask_dir names 1 folders"),
        ({"normal_dir": "absent"}, DataError, "there is no folder .*absent"),
        ({"extensions": "bmp"}, DataError, "there are no images"),
        ({"abnormal_dir": "good"}, DataError, "is reached by two keys"),
        ({"normal_test_dir": "more", "normal_dir": "more"}, DataError, "is reached by two keys"),
        ({"normal_dir": "more", "abnormal_dir": "."}, DataError, "is reached by two keys"),
    ],
)
def test_wrong_mappings_are_explained(
    factory: Path, change: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_dataset({"root": str(factory), "normal_dir": "good", **change})


def test_good_images_do_not_pass_for_anomalous_ones(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "a.png")
    touch(tmp_path / "test" / "OK" / "a.png")
    with pytest.raises(DataError, match="in a folder named OK: name the folders of defects"):
        open_dataset({"root": str(tmp_path), "normal_dir": "train", "abnormal_dir": "test"})


def test_values_are_frozen_and_compare_by_content(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    one, other = open_dataset(tmp_path), open_dataset(tmp_path)
    assert isinstance(one, Dataset)
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(AttributeError):
        one.train[0].label = "bent"  # type: ignore[misc]


def test_a_folder_that_may_not_be_listed_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> list[Path]:
        raise PermissionError(13, os.strerror(13), str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        open_dataset(tmp_path)
