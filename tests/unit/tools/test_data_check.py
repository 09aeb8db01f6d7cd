"""The check before training, the cache it fills, and masks."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from painted import save, save_many, texture

from edgead.errors import DataError
from edgead.images import read_image
from edgead.ops import resize
from edgead_tools.data import Cache, Checked, Sample, check, open_dataset, read_mask
from edgead_tools.data.check import odd_sizes

SHARED = Path(__file__).parents[4] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"there are no development images at {SHARED}")


def checked(folder: Path, **options: int) -> Checked:
    return check(open_dataset(folder).train, **options)


def reasons(result: Checked) -> dict[str, str]:
    return {rejection.path.name: rejection.reason for rejection in result.rejected}


def test_sound_images_are_all_kept_in_order(tmp_path: Path) -> None:
    save_many(tmp_path, 12)
    result = checked(tmp_path)
    assert [sample.name for sample in result.accepted] == [f"{index}.png" for index in range(12)]
    assert result.rejected == ()
    assert result.images is None


def test_what_cannot_be_learned_from_is_left_out_with_a_reason(tmp_path: Path) -> None:
    paths = save_many(tmp_path, 12)
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    paths[3].write_bytes(b"")
    paths[4].write_bytes(b"not an image at all")
    save(tmp_path / "5.png", np.full((24, 32), 77, np.uint8))
    save(tmp_path / "twin.bmp", texture(0))
    save(tmp_path / "wide.png", texture(50, 24, 200))
    result = checked(tmp_path)
    assert len(result.accepted) == 8
    assert reasons(result) == {
        "1.png": "is cut short; copy it again or leave it out",
        "3.png": "is empty; copy it again or leave it out",
        "4.png": "is damaged or no image: copy it again, or use png, jpg, bmp, tif or webp",
        "5.png": "is constant: there is no contrast in it",
        "twin.bmp": "is a duplicate: it has the same pixels as 0.png",
        "wide.png": "has an odd size: 200x24, while 8 of 9 are 32x24",
    }


def test_equal_bytes_in_another_shape_are_no_duplicate(tmp_path: Path) -> None:
    image = texture(1, 24, 32)
    save(tmp_path / "a.png", image)
    save(tmp_path / "b.png", image.reshape(32, 24, 3))
    assert len(checked(tmp_path).accepted) == 2


def test_deep_files_read_with_the_wrong_bits_are_explained(tmp_path: Path) -> None:
    for seed in range(3):
        save(tmp_path / f"{seed}.png", texture(seed).astype(np.uint16) * 16)
    result = checked(tmp_path)
    assert result.accepted == ()
    assert "is almost black: its values reach 4080 of 65535" in result.rejected[0].reason
    assert "set bits to 12" in result.rejected[0].reason
    assert len(checked(tmp_path, bits=12).accepted) == 3


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    assert check(()).accepted == ()
    assert check((), cache=Cache(tmp_path / "rows.npy", 8, 8)).images is None
    assert not list(tmp_path.iterdir())


def test_the_digest_knows_names_and_contents_but_not_order_or_place(tmp_path: Path) -> None:
    for place in ("one", "other"):
        save_many(tmp_path / place, 4)
    samples = open_dataset(tmp_path / "one").train
    digest = check(samples).digest
    assert len(digest) == 64
    assert check(samples[::-1]).digest == digest == checked(tmp_path / "other").digest
    (tmp_path / "other" / "3.png").rename(tmp_path / "other" / "4.png")
    assert checked(tmp_path / "other").digest != digest
    save(tmp_path / "one" / "3.png", 99)
    assert check(samples).digest != digest


def test_the_digest_leaves_out_what_is_left_out(tmp_path: Path) -> None:
    save_many(tmp_path, 4)
    digest = checked(tmp_path).digest
    save(tmp_path / "black.png", np.zeros((24, 32), np.uint8))
    assert checked(tmp_path).digest == digest


def test_progress_reaches_the_end_one_by_one(tmp_path: Path) -> None:
    save_many(tmp_path, 5)
    steps: list[tuple[int, int]] = []
    check(open_dataset(tmp_path).train, on_progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 5) for done in range(1, 6)]


def test_checking_and_caching_read_every_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_many(tmp_path / "set", 5)
    save(tmp_path / "set" / "2.png", np.zeros((24, 32), np.uint8))
    decode, calls = cv2.imdecode, []
    monkeypatch.setattr(cv2, "imdecode", lambda raw, flags: calls.append(1) or decode(raw, flags))
    result = check(open_dataset(tmp_path / "set").train, cache=Cache(tmp_path / "rows.npy", 10, 12))
    assert len(calls) == 5
    assert result.images is not None
    assert result.images.shape == (4, 10, 12, 3)
    for row, sample in enumerate(result.accepted):
        assert np.array_equal(result.images[row], resize(read_image(sample.path), 10, 12))
    assert result.rows(result.accepted[::-1]).tolist() == [3, 2, 1, 0]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["rows.npy"]


def test_resized_images_are_mapped_read_only(tmp_path: Path) -> None:
    save_many(tmp_path / "set", 4)
    steps: list[int] = []
    samples = open_dataset(tmp_path / "set").train
    checked = check(samples, cache=Cache(tmp_path / "rows.npy", 9, 7), on_progress=lambda done, _: steps.append(done))
    rows = checked.images
    assert isinstance(rows, np.memmap)
    assert (rows.shape, rows.dtype, steps) == ((4, 9, 7, 3), np.uint8, [1, 2, 3, 4])
    assert np.array_equal(np.load(tmp_path / "rows.npy", allow_pickle=False), rows)
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0


def test_a_failed_cache_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_many(tmp_path / "set", 4)
    samples = open_dataset(tmp_path / "set").train
    with pytest.raises(DataError, match="cannot be written: No such file"):
        check(samples, cache=Cache(tmp_path / "absent" / "rows.npy", 9, 7))

    def full(*_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        check(samples, cache=Cache(tmp_path / "rows.npy", 9, 7))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("sizes", "odd"),
    [
        ([(100, 100)] * 9 + [(100, 151)], 1),  # aspect
        ([(100, 100)] * 9 + [(100, 149)], 0),
        ([(100, 100)] * 9 + [(49, 49)], 1),  # area
        ([(100, 100)] * 9 + [(51, 51)], 0),
        ([(100, 100)] * 8 + [(30, 30)] * 2, 0),  # a fifth: two kinds of part
        ([(100, 100)] * 18 + [(30, 30), (100, 400)], 2),
        ([(100, 100 + 12 * step) for step in range(40)], 0),  # wide, but in small steps
        ([(10, 10)], 0),
        ([(10, 10), (100, 10)], 0),  # which of the two?
    ],
)
def test_sizes_are_odd_when_no_small_steps_lead_to_them(sizes: list[tuple[int, int]], odd: int) -> None:
    assert sum(odd_sizes(sizes)) == odd
    assert not any(odd_sizes(sizes)[: len(sizes) - odd])


@given(st.lists(st.sampled_from([(9, 9), (9, 90), (90, 9), (500, 500), (512, 512), (640, 480)]), max_size=30))
@settings(deadline=None)
def test_at_most_a_tenth_or_one_is_ever_odd(sizes: list[tuple[int, int]]) -> None:
    odd = odd_sizes(sizes)
    assert len(odd) == len(sizes)
    assert sum(odd) <= max(1, len(sizes) // 10)
    assert sorted(zip(sizes, odd, strict=True)) == sorted(zip(sizes[::-1], odd_sizes(sizes[::-1]), strict=True))


def masked(tmp_path: Path, *masks: np.ndarray) -> Sample:
    paths = tuple(save(tmp_path / f"{index}.png", mask) for index, mask in enumerate(masks))
    return Sample(tmp_path / "a.png", "a.png", "bent", paths)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 12, 127, 128, 255], [False, False, False, True, True]),  # blurred edges of a lossy format
        ([0, 1, 2, 0, 5], [False, True, True, False, True]),  # numbers of classes
        ([0, 226, 226, 0, 0], [False, True, True, False, False]),
        ([0, 0, 0, 0, 0], [False] * 5),
    ],
)
def test_a_mask_is_read_whatever_its_values_mean(tmp_path: Path, values: list[int], expected: list[bool]) -> None:
    assert read_mask(masked(tmp_path, np.array([values], np.uint8))).tolist() == [expected]


def test_a_deep_mask_keeps_its_small_classes(tmp_path: Path) -> None:
    assert read_mask(masked(tmp_path, np.array([[0, 1, 3]], np.uint16))).tolist() == [[False, True, True]]
    assert read_mask(masked(tmp_path, np.array([[0, 900, 65535]], np.uint16))).tolist() == [[False, False, True]]


def test_several_masks_are_united_before_they_are_resized(tmp_path: Path) -> None:
    left, right = np.zeros((2, 8, 12), np.uint8)
    left[:, 3], right[:, 4] = 255, 7
    union = read_mask(masked(tmp_path, left, right))
    assert np.flatnonzero(union[0]).tolist() == [3, 4]
    assert np.flatnonzero(read_mask(masked(tmp_path, left, right), 4, 6)[0]).tolist() == [1, 2]
    assert read_mask(masked(tmp_path, left, right), 16, 24).sum() == 16 * 4


def test_good_images_have_empty_masks(tmp_path: Path) -> None:
    sample = Sample(save(tmp_path / "a.png", 1), "a.png")
    assert (read_mask(sample).shape, read_mask(sample).any()) == ((24, 32), False)
    assert read_mask(sample, 5, 6).shape == (5, 6)


def test_masks_that_are_missing_or_unequal_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is anomalous \('bent'\) and has no mask"):
        read_mask(masked(tmp_path))
    with pytest.raises(DataError, match="is another size"):
        read_mask(masked(tmp_path, np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)))


@needs_shared
@pytest.mark.parametrize(
    ("name", "train", "kept", "anomalous"),
    [
        ("aliens", 30, 30, 60),
        ("bottle", 209, 209, 63),
        ("cubes", 86, 86, 72),
        ("dice", 857, 857, 82),
        ("glass_fibre", 90, 90, 20),
        ("magnetic_tile", 762, 762, 392),
        ("screw_presence", 24, 23, 112),
    ],
)
def test_real_sets_lose_nothing_but_duplicates(name: str, train: int, kept: int, anomalous: int) -> None:
    dataset = open_dataset(SHARED / name)
    assert (len(dataset.train), sum(not sample.is_good for sample in dataset.test)) == (train, anomalous)
    assert dataset.has_masks == (name in {"bottle", "glass_fibre", "magnetic_tile"})
    result = check(dataset.train)
    assert len(result.accepted) == kept
    assert all("is a duplicate" in rejection.reason for rejection in result.rejected)


@needs_shared
@pytest.mark.parametrize("name", ["bottle", "magnetic_tile"])
def test_real_masks_fit_their_images_and_hold_a_defect(name: str) -> None:
    anomalous = [sample for sample in open_dataset(SHARED / name).test if not sample.is_good]
    for sample in anomalous[::20]:
        mask = read_mask(sample)
        assert mask.shape == read_image(sample.path).shape[:2]
        assert 0 < mask.mean() < 0.9, sample.name
