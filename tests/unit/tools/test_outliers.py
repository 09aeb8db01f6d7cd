"""Outliers among good images: listed and shown beside the bundle, left out by --exclude, never in silence."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny

from edgead import Bundle
from edgead.errors import UsageError
from edgead.ops import calibrate
from edgead_tools.data import DecodedImages, open_dataset
from edgead_tools.pipeline.good_scores import GoodScores
from edgead_tools.pipeline.outliers import exclude, outlier_records, write_outliers


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "parts"
    (root / "train" / "good").mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(20):
        picture = random.integers(0, 255, (32, 32, 3), np.uint8)
        cv2.imwrite(str(root / "train" / "good" / f"{index:02d}.png"), picture)
    return root


def test_a_strange_image_is_recorded_by_name(data: Path) -> None:
    samples = open_dataset(str(data)).train
    scores = (*np.random.default_rng(1).normal(3, 1, 19), 40.0)
    (found,) = outlier_records(GoodScores(samples, scores, scores))
    assert found == {"image": samples[19].name, "score": 40.0}
    assert outlier_records(GoodScores(samples[:19], scores[:19], scores[:19])) == []


def bundle_with(outliers: list[dict[str, object]], folder: Path) -> Bundle:
    return tiny.write_tiny(folder / "part.edgead", provenance={"outliers": outliers})


def test_list_and_page_lie_beside_the_bundle_and_go_with_the_outliers(data: Path, tmp_path: Path) -> None:
    samples = open_dataset(str(data)).train
    files = write_outliers(
        bundle_with([{"image": samples[3].name, "score": 7.5}], tmp_path), samples, DecodedImages().frame, {}, ()
    )
    assert files is not None
    listed, shown = files
    assert samples[3].name in listed.read_text()
    assert "data:image/jpeg" in shown.read_text()
    assert "Is this a good part?" in shown.read_text()
    assert write_outliers(bundle_with([], tmp_path), samples, DecodedImages().frame, {}, ()) is None
    assert not listed.exists()
    assert not shown.exists()


def test_an_outlier_is_shown_with_its_map_out_of_fold(data: Path, tmp_path: Path) -> None:
    sample = open_dataset(str(data)).train[3]
    bundle = bundle_with([{"image": sample.name, "score": 7.5}], tmp_path)
    pages = []
    for maps in ({}, {sample.name: np.full((8, 8), 9.0, np.float32)}):
        files = write_outliers(bundle, [sample], DecodedImages().frame, maps, ())
        assert files is not None
        encoded = re.findall(r"data:image/jpeg;base64,([^\"]+)", files[1].read_text())[0]
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
        pages.append(picture[:, picture.shape[1] // 2 :].astype(float))
    assert pages[1].std(axis=(0, 1)).max() < 5  # one color: hot everywhere
    assert pages[0].std(axis=(0, 1)).max() > 10  # as the bundle sees it


def test_by_what_a_map_was_made_is_said(data: Path, tmp_path: Path) -> None:
    samples = open_dataset(str(data)).train[:3]
    bundle = bundle_with([{"image": sample.name, "score": 7.5} for sample in samples], tmp_path)
    fitted = bundle.manifest.artifacts[0].thresholds
    left_out, learned, _ = (sample.name for sample in samples)
    maps = {left_out: np.zeros((8, 8), np.float32)}
    files = write_outliers(bundle, samples, DecodedImages().frame, maps, {left_out, learned})
    assert files is not None
    assert files[1].read_text().count(f"score {calibrate(7.5, fitted.image_center, fitted.image):.2f} · map") == 2 * 3
    said = re.findall(r"map (by [^<]+)</figcaption>", files[1].read_text())
    assert said == [
        "by memories and statistics without this image",
        "by the bundle, which learned from this image: it may show too little",
        "by the bundle, which did not learn from this image",
    ]


@pytest.mark.parametrize("line", ["train/good/03.png", "03.png", "good/03.png  # scratched"])
def test_listed_images_are_left_out_and_said(data: Path, tmp_path: Path, line: str) -> None:
    dataset, listed = open_dataset(str(data)), tmp_path / "list.txt"
    listed.write_text(f"# outliers\n\n{line}\n")
    less = exclude(dataset, str(listed))
    assert [one.path.name for one in dataset.train if one not in less.train] == ["03.png"]
    assert str(less.left[-1].path).endswith("03.png")
    assert "listed in list.txt" in str(less.left[-1])


def test_a_line_that_is_no_image_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("99.png\n")
    with pytest.raises(UsageError, match=r"lists '99\.png'"):
        exclude(open_dataset(str(data)), str(tmp_path / "list.txt"))
    with pytest.raises(UsageError, match="cannot be read"):
        exclude(open_dataset(str(data)), str(tmp_path / "none.txt"))
