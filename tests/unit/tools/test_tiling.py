"""Builds of frames in tiles: what is learned from, which memory tiles share, how a network becomes one of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from edgead.bundle import InputSpec, TileSpec
from edgead.config import BuildConfig
from edgead.errors import DataError, UsageError
from edgead.ops import to_batch
from edgead.progress import Reporter
from edgead_calibration.images import inputs_of
from edgead_tools.data import DecodedImages, Sample
from edgead_tools.export.network import export
from edgead_tools.layers.image_statistics import fit_image_statistics
from edgead_tools.layers.memory_map import fit_memory_map, pool_taps
from edgead_tools.layers.regions import Layout, TileLayout
from edgead_tools.methods import Trained, TrainingImages, create_method
from edgead_tools.methods.memory import make_folds
from edgead_tools.pipeline.input_survey import InputFinding, choose_input, find_tiles, grids
from edgead_tools.pipeline.tiling import of_frames, tile_input, tile_rows, tile_spec
from edgead_tools.training.loop import Run

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 64
GRID = (1, 2)
TILES = TileSpec(rows=1, columns=2, overlap=32)
SPEC = tile_input((SIDE, SIDE), TILES)
FRAMES = 14


def frame(random: np.random.Generator) -> np.ndarray:
    """A frame at `SPEC.frame`: dark and plain on its left, bright and checkered on its right."""
    image = random.normal(60, 4, (*SPEC.frame, 3))
    rows, columns = np.mgrid[: SPEC.frame[0], : SPEC.frame[1]]
    right = columns >= 48
    image[right] += 90 + 40 * ((rows[right] // 8 + columns[right] // 8) % 2)[:, None]
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> TrainingImages:
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("rows")
    frames = [frame(random) for _ in range(FRAMES)]
    train, calibration = (
        tile_rows(side, SPEC, folder / f"{index}.npy") for index, side in enumerate((frames[:10], frames[10:]))
    )
    return TrainingImages(train, calibration, tiles=SPEC.batch)


def remembered(images: TrainingImages, places: str, folder: Path) -> Trained:
    method = create_method("stlm", "edge", {"memory": 64, "places": places})
    return of_frames(method.train(images, Run(folder=folder, budget=0.0, threads=1)), TILES)


@pytest.fixture(scope="module")
def apart(images: TrainingImages, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return remembered(images, "yes", tmp_path_factory.mktemp("apart"))


def test_tiles_of_all_frames_are_rows_of_a_file(images: TrainingImages) -> None:
    first = frame(np.random.default_rng(0))
    assert images.train.shape == (20, SIDE, SIDE, 3)
    assert images.count == 28
    assert (images.train[0] == first[:, :64]).all()
    assert (images.train[1] == first[:, 32:]).all()


def test_the_tiles_of_a_frame_are_in_one_fold(images: TrainingImages) -> None:
    folds = images.folds()
    assert len(folds) == 28
    assert (folds[::2] == folds[1::2]).all()
    assert len(set(folds)) > 1
    for fold in make_folds(20, 8, 2):
        assert len(fold) % 2 == 0
        assert (fold[::2] + 1 == fold[1::2]).all()


def test_images_that_are_no_whole_frames_are_refused(images: TrainingImages) -> None:
    with pytest.raises(DataError, match="are not all of 2 tiles"):
        TrainingImages(images.train[:3], images.calibration, tiles=2)


def test_cells_of_tiles_are_gathered_and_put_back() -> None:
    layout, cells = TileLayout(1, 2), torch.randn(6, 5, 4, 3)
    gathered = layout.gather(cells)
    assert gathered.shape == (3, 2, 12, 5)
    assert torch.equal(gathered[1, 0, 0], cells[2, :, 0, 0])
    assert torch.equal(layout.scatter(gathered[..., 2], 4, 3), cells[:, 2])
    assert [len(rows) for rows in layout.surroundings(cells)] == [36, 36]


def test_a_memory_of_each_tile_knows_nothing_of_another() -> None:
    torch.manual_seed(0)
    here, there = torch.randn(20, 8, 4, 4), torch.randn(20, 8, 4, 4) + 6
    cells = torch.stack([here, there], 1).flatten(0, 1)
    folds = make_folds(32, 8, 2)
    fitted = fit_memory_map(cells, 32, folds, places=True, tiles=2)
    assert fitted.group == 2
    assert fitted.map.usual.shape == (2, 4, 4)
    alike = fit_memory_map(cells, 32, folds, places=False, tiles=2)
    assert alike.group == 1
    assert isinstance(alike.map.layout, Layout)
    fine = torch.nn.functional.interpolate(torch.cat([there[:1], there[:1]])[:, :4], scale_factor=2.0)
    coarse = torch.cat([there[:1], there[:1]])[:, 4:]
    with torch.no_grad():
        maps, shared = fitted.map(pool_taps(fine, coarse)), alike.map(pool_taps(fine, coarse))
    assert float(maps[0].mean()) > 5 * float(maps[1].mean().abs())  # the second tile's parts are strange in the first
    assert float(shared[0].mean()) == pytest.approx(float(shared[1].mean()), abs=1e-4)


def test_the_picture_of_each_tile_is_compared_with_its_own() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(30, 2, 6) + torch.tensor([0.0, 50.0])[None, :, None]
    folds = make_folds(48, 12, 2)
    statistics = fit_image_statistics(vectors.reshape(60, 6), folds, 2).statistics
    assert statistics.mean.shape == (2, 6)
    taps = torch.randn(4, 3, 8, 8)
    one = fit_image_statistics(torch.randn(60, 6), folds).statistics
    assert statistics(taps).shape == one(taps).shape == (4, 1, 1)


def test_a_network_of_tiles_becomes_one_of_frames(apart: Trained) -> None:
    assert apart.group == 2
    assert apart.input.tiles == TileSpec(rows=1, columns=2, overlap=32, apart=True)
    assert (apart.fusion.height, apart.fusion.width) == (8, 12)
    assert apart.out_of_fold["memory"].shape == (28, 4, 4)


def test_an_overlap_that_no_cell_ends_at_is_refused(apart: Trained) -> None:
    with pytest.raises(UsageError, match="tile_overlap"):
        of_frames(apart, TileSpec(rows=1, columns=2, overlap=28))
    with pytest.raises(UsageError, match="at most half"):
        tile_spec((1, 2), 64, (64, 64))
    assert tile_spec((1, 1), 64, (64, 64)) is None
    assert tile_spec(None, 32, (64, 64)) is None


def test_a_network_that_tells_tiles_apart_is_exported_for_whole_frames(
    apart: Trained, images: TrainingImages, tmp_path: Path
) -> None:
    exported = export(apart, tmp_path / "apart.onnx", images.calibration)
    assert exported.outputs["memory"] == (4, 4)
    session = ort.InferenceSession(tmp_path / "apart.onnx", providers=["CPUExecutionProvider"])
    good = frame(np.random.default_rng(9))
    plain = np.ascontiguousarray(np.concatenate([good[:, :32], good[:, :64]], 1))  # what is usual on the left alone
    maps = [session.run(["memory"], {"image": to_batch(one, apart.input)})[0] for one in (good, plain)]
    assert maps[1][1].max() > 5 * maps[0][1].max()
    frames = session.run(["memory"], {"image": np.concatenate([to_batch(one, apart.input) for one in (good, plain)])})
    assert frames[0] == pytest.approx(np.concatenate(maps), abs=3e-3)


def test_ranges_are_observed_on_tiles_one_by_one_or_on_whole_frames(apart: Trained) -> None:
    good = [frame(np.random.default_rng(seed)) for seed in range(3)]
    assert [one.shape[0] for one in inputs_of(good, SPEC)] == [1] * 6
    assert [one.shape[0] for one in inputs_of(good, apart.input)] == [2] * 3
    whole = InputSpec(height=64, width=96, scale=(1.0,) * 3, offset=(0.0,) * 3)
    assert [one.shape for one in inputs_of(good, whole)] == [(1, 3, 64, 96)] * 3


def test_grids_grow_to_the_pixels_of_the_camera_or_to_the_most_tiles() -> None:
    assert grids((3000, 4096), (256, 256), 32) == [(1, 1), (2, 3), (4, 5), (7, 9)]
    assert grids((480, 640), (256, 256), 32) == [(1, 1), (1, 2), (2, 3)]
    assert grids((200, 200), (256, 256), 32) == [(1, 1)]


def finding(columns: int, size: float | None, found: float = 0.5) -> InputFinding:
    return InputFinding(columns=columns, rows=1, shrunk=4.0, size=size, found=found, milliseconds=10.0)


def test_the_cheapest_input_is_chosen_that_finds_about_as_small_defects() -> None:
    assert choose_input([finding(1, 60.0), finding(4, 21.0), finding(16, 20.0)]).columns == 4
    assert choose_input([finding(1, 60.0), finding(4, 30.0), finding(16, 20.0)]).columns == 16
    assert choose_input([finding(1, None, 0.1), finding(4, None, 0.3)]).columns == 4
    assert choose_input([finding(1, None, 0.3), finding(4, None, 0.3)]).columns == 1
    assert "nine in ten defects of 21 pixels" in finding(4, 21.0).in_words()
    assert "50% of all are" in finding(1, None).in_words()


def test_images_that_cannot_be_read_have_no_say(tmp_path: Path) -> None:
    samples = [Sample(tmp_path / f"{index}.png", f"{index}.png") for index in range(12)]
    method, run = create_method("stlm", "edge", {}), Run(folder=tmp_path, budget=0.0)
    config = BuildConfig(data=str(tmp_path), tiles="auto")
    found = find_tiles(config, method, samples, (SIDE, SIDE), run, DecodedImages(), Reporter())
    assert found == (None, {})
