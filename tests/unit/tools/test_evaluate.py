"""Evaluation of the tiny bundle on drawn data sets: every figure against scikit-learn, and files that are broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from edgead import Detector
from edgead.errors import DataError, UsageError
from edgead.ops import upsample
from edgead.progress import Reporter
from edgead_tools.data import open_dataset, read_mask
from edgead_tools.data.loco import Saturation, read_saturations
from edgead_tools.evaluation.entries import means, measure
from edgead_tools.evaluation.evaluate import evaluate
from edgead_tools.evaluation.metrics import PixelScores, rate_interval

HEIGHT, WIDTH = 48, 64


def part(seed: int, spots: int, level: int = 250) -> tuple[np.ndarray, list[np.ndarray]]:
    """A part with that many bright spots, and the mask of each."""
    rng, image, masks = np.random.default_rng(seed), tiny.good(seed), []
    for _ in range(spots):
        y, x = int(rng.integers(0, HEIGHT - 12)), int(rng.integers(0, WIDTH - 16))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[y : y + 12, x : x + int(rng.integers(6, 16))] = 255
        image[mask > 0] = level
        masks.append(mask)
    return image, masks


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def draw(root: Path, kinds: dict[str, int], *, seed: int = 0) -> Path:
    """A data set as MVTec AD lays it out: per kind of defect six images with spots of one gray level."""
    for index in range(8):
        write(root / f"train/good/{index}.png", tiny.good(seed + index))
        write(root / f"test/good/{index}.png", tiny.good(seed + 100 + index) + np.uint8(4 * index))
    for offset, (kind, level) in enumerate(kinds.items()):
        for index in range(6):
            image, masks = part(seed + 1000 * (1 + offset) + index, 2, level)
            write(root / f"test/{kind}/{index}.png", image)
            write(root / f"ground_truth/{kind}/{index}_mask.png", np.maximum(*masks))
    return root


@pytest.fixture
def spotted(tmp_path: Path) -> Path:
    return draw(tmp_path / "spotted", {"bright": 250, "dim": 75})


def draw_loco(root: Path) -> Path:
    """The same as MVTec LOCO lays it out: a file for each defect, its value explained in defects_config.json."""
    draw(root, {})
    for kind, value, level in (("logical_anomalies", 255, 240), ("structural_anomalies", 200, 120)):
        for index in range(5):
            image, masks = part(5000 + value + index, 2, level)
            write(root / f"test/{kind}/{index:03d}.png", image)
            for number, mask in enumerate(masks):
                write(root / f"ground_truth/{kind}/{index:03d}/{number:03d}.png", mask // 255 * value)
    entries = [("missing", 255, 50, False), ("scratch", 200, 1.0, True)]
    names = ("defect_name", "pixel_value", "saturation_threshold", "relative_saturation")
    (root / "defects_config.json").write_text(json.dumps([dict(zip(names, entry, strict=True)) for entry in entries]))
    return root


def test_every_figure_is_scikit_learns(detector: Detector, spotted: Path) -> None:
    found = evaluate(detector, open_dataset(spotted))
    labels = [not one.is_good for one in found.judged]
    scores = [one.raw_score for one in found.judged]
    refused = [one.refused for one in found.judged]
    assert found.image_auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert found.average_precision == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    assert found.f1 == pytest.approx(f1_score(labels, refused), abs=1e-9)
    alarms = sum(r and not y for r, y in zip(refused, labels, strict=True))
    assert found.false_alarm_rate == alarms / 8
    assert found.to_dict()["false_alarm_interval"] == rate_interval(alarms, 8)
    maps, masks = [], []
    for sample in open_dataset(spotted).test:
        maps.append(upsample(detector(cv2.imread(str(sample.path))).grid_map, tiny.SIZE, tiny.SIZE))
        masks.append(read_mask(sample, tiny.SIZE, tiny.SIZE))
    assert found.pixel_auroc == pytest.approx(roc_auc_score(np.ravel(masks), np.ravel(maps)), abs=1e-6)
    assert found.aupro == pytest.approx(PixelScores.of(zip(maps, masks, strict=True)).aupro(), abs=1e-6)
    assert found.au_spro is None
    bright, dim = found.kinds
    assert (bright.name, bright.images, dim.name, dim.images) == ("bright", 6, "dim", 6)
    assert bright.image_auroc == 1
    ranked = [one for one in found.judged if one.label in ("good", "dim")]
    expected = roc_auc_score([not one.is_good for one in ranked], [one.raw_score for one in ranked])
    assert dim.image_auroc == pytest.approx(expected, abs=1e-9)
    assert dim.missed == sum(not one.refused for one in found.judged if one.label == "dim")


def test_pixels_at_full_size_are_the_images_own(detector: Detector, spotted: Path) -> None:
    found = evaluate(detector, open_dataset(spotted), full_size=True)
    pixels = PixelScores()
    for sample in open_dataset(spotted).test:
        grid = detector(cv2.imread(str(sample.path))).grid_map
        pixels.add(upsample(grid, HEIGHT, WIDTH), read_mask(sample))
    assert (found.pixel_auroc, found.aupro) == (pytest.approx(pixels.auroc()), pytest.approx(pixels.aupro()))
    assert found.resolution == "image"


def test_loco_is_judged_by_its_own_protocol(detector: Detector, tmp_path: Path) -> None:
    dataset = open_dataset(draw_loco(tmp_path / "box"))
    found = evaluate(detector, dataset)
    assert found.image_auroc == pytest.approx(np.mean([kind.image_auroc for kind in found.kinds]), abs=1e-12)
    for kind in found.kinds:
        chosen = [sample for sample in dataset.test if sample.label in ("good", kind.name)]
        maps = [detector(cv2.imread(str(sample.path))).anomaly_map for sample in chosen]
        files = [[cv2.imread(str(path), 0) for path in sample.masks] for sample in chosen]
        free = [~np.any([np.zeros((HEIGHT, WIDTH), bool), *(f > 0 for f in of)], axis=0) for of in files]
        points = {(0.0, 0.0), (1.0, 1.0)}
        for threshold in np.unique(maps):
            overlaps = []
            for one, of in zip(maps, files, strict=True):
                for file in of:
                    area = min(50, (file > 0).sum()) if file.max() == 255 else (file > 0).sum()
                    overlaps.append(min(1.0, ((one >= threshold) & (file > 0)).sum() / area))
            false = sum(((one >= threshold) & ok).sum() for one, ok in zip(maps, free, strict=True))
            points.add((float(false / np.sum(free)), float(np.mean(overlaps))))
        x, y = np.array(sorted(points)).T
        inside = np.append(x[x <= 0.05], 0.05)
        heights = np.append(y[x <= 0.05], np.interp(0.05, x, y))
        assert kind.au_spro == pytest.approx(np.trapezoid(heights, inside) / 0.05, abs=1e-6)
    assert found.au_spro == pytest.approx(np.mean([kind.au_spro for kind in found.kinds]))


@pytest.mark.parametrize(("threshold", "relative", "area"), [(1.0, True, 30), (0.5, True, 15), (0.01, True, 1),
                                                              (12, False, 12), (99, False, 30)])  # fmt: skip
def test_how_much_of_a_defect_is_all_of_it(threshold: float, relative: bool, area: int) -> None:
    assert Saturation("a", 1, threshold, relative).area(30) == area


def test_a_damaged_saturation_file_is_said(tmp_path: Path) -> None:
    assert read_saturations(tmp_path) == {}
    (tmp_path / "defects_config.json").write_text('[{"pixel_value": "x"}]')
    with pytest.raises(DataError, match=r"is not MVTec LOCO's defects_config.json"):
        read_saturations(tmp_path)


def test_what_cannot_be_read_is_named_left_out_and_counted(edgead, tiny_bundle: Path, spotted: Path) -> None:
    (spotted / "test/dim/2.png").write_bytes(b"no image")
    (spotted / "ground_truth/bright/1_mask.png").write_bytes(b"no mask")
    code, out, err = edgead("eval", tiny_bundle, spotted, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["good"], found["defective"], found["left_out"]) == (8, 11, 2)
    assert [Path(one["path"]).name for one in found["files_left_out"]] == ["1.png", "2.png"]
    assert "its mask is not used" in found["files_left_out"][0]["reason"]
    assert "left out" in err
    assert "dim/2.png" in err
    assert found["pixel_auroc"] > 0.5


def test_a_side_of_which_nothing_can_be_read_is_an_error(detector: Detector, spotted: Path) -> None:
    for path in spotted.glob("test/*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 20 test images could be read"):
        evaluate(detector, open_dataset(spotted))


def test_categories_are_averaged_and_bundles_told_apart(tmp_path: Path, tiny_bundle: Path) -> None:
    for index, name in enumerate(("nut", "cap")):
        draw(tmp_path / "data" / name, {"spot": 90 + 60 * index}, seed=50 * index)
        for model in ("one", "two"):
            (tmp_path / model).mkdir(exist_ok=True)
            (tmp_path / model / f"{name}.edgead").write_bytes(tiny_bundle.read_bytes())
    paths = [tmp_path / model / f"{name}.edgead" for model in ("one", "two") for name in ("nut", "cap")]
    found = measure(paths, tmp_path / "data", Reporter())
    names = [("one", "nut"), ("one", "cap"), ("two", "nut"), ("two", "cap")]
    assert [(one.model, one.category) for one in found] == names
    mean = means(found)["one"]
    for name in ("image_auroc", "aupro", "miss_rate"):
        assert mean[name] == pytest.approx(np.mean([one.evaluation.to_dict()[name] for one in found[:2]]))
    assert mean["au_spro"] is None
    both = measure([tmp_path / "one/nut.edgead", tmp_path / "two/nut.edgead"], tmp_path / "data/nut", Reporter())
    assert [one.model for one in both] == ["one/nut", "two/nut"]
    with pytest.raises(UsageError, match="two of the bundles are called one/nut"):
        measure([paths[0], paths[0]], tmp_path / "data/nut", Reporter())
    with pytest.raises(UsageError, match="has no category 'tiny'"):
        measure([tiny_bundle], tmp_path / "data", Reporter())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_large_images_are_judged_in_bounded_memory(tmp_path: Path, tiny_bundle: Path) -> None:
    """500 images of 1024 x 1024 with masks, pixel figures at full size: their peak is hardly above that of 60."""
    mask = np.zeros((1024, 1024), np.uint8)
    mask[512:768, 512:768] = 255
    write(tmp_path / "mask.png", mask)
    for number in range(4):
        write(tmp_path / f"good{number}.png", tiny.good(number, 1024, 1024))
        write(tmp_path / f"spot{number}.png", tiny.bad(number, 1024, 1024))
    peaks = []
    for count in (60, 500):
        root = tmp_path / str(count)
        for folder in ("test/good", "test/spot", "ground_truth/spot"):
            (root / folder).mkdir(parents=True)
        for index in range(count):
            kind = ("good", "spot")[index % 2]
            (root / f"test/{kind}/{index}.png").hardlink_to(tmp_path / f"{kind}{index % 4}.png")
            if kind == "spot":
                (root / f"ground_truth/spot/{index}_mask.png").hardlink_to(tmp_path / "mask.png")
        program = (
            "import resource, sys\nfrom edgead import Detector\nfrom edgead_tools.data import open_dataset\n"
            "from edgead_tools.evaluation.evaluate import evaluate\n"
            "with Detector(sys.argv[1], threads=1) as d:\n"
            "    found = evaluate(d, open_dataset(sys.argv[2]), full_size=True)\n"
            "print(found.pixel_auroc, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        command = [sys.executable, "-c", program, str(tiny_bundle), str(root)]
        auroc, peak = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
        assert auroc > 0.99
        peaks.append(peak)
    print("peak MiB", peaks)
    assert peaks[1] < min(1200, peaks[0] + 100)
