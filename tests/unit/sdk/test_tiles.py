"""Frames in tiles: what is cut, how maps are blended, and that a detector judges such frames as whole ones."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny

from edgead import Bundle, Detector, ops
from edgead.bundle import FusionSpec, InputSpec, MapSpec, TileSpec
from edgead.bundle.manifest import decode, encode
from edgead.config import BuildConfig
from edgead.engines import base
from edgead.engines.onnx import OnnxEngine
from edgead.errors import BundleError, UsageError
from edgead.types import Frame, ImageU8

TILES = TileSpec(rows=2, columns=3, overlap=8)
INPUT = InputSpec(height=32, width=32, scale=(1 / 255,) * 3, offset=(0.0,) * 3, tiles=TILES)
FUSION = FusionSpec(maps=(MapSpec(name="distance"),), height=14, width=20)
FRAME = (56, 80)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny.write_tiny(tmp_path_factory.mktemp("tiles") / "tiles.edgead", input=INPUT, fusion=FUSION)


def noise(height: int, width: int) -> ImageU8:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cells(image: ImageU8) -> np.ndarray:
    """What the tiny network gives of a whole image: means of 4 x 4 pixels."""
    height, width = image.shape[:2]
    return image.mean(2).reshape(height // 4, 4, width // 4, 4).mean((1, 3)) / 255


def test_the_size_of_a_frame_follows_from_its_tiles() -> None:
    assert INPUT.frame == FRAME
    assert INPUT.batch == 6
    assert "3 x 2 tiles of 32 x 32 pixels, 8 of them over the next" in INPUT.in_words()


def test_tiles_are_views_of_the_frame_row_by_row() -> None:
    frame = noise(*FRAME)
    tiles = ops.cut_tiles(frame, INPUT)
    assert len(tiles) == 6
    assert all(np.shares_memory(tile, frame) for tile in tiles)
    assert (tiles[0] == frame[:32, :32]).all()
    assert (tiles[5] == frame[24:, 48:]).all()
    whole = msgspec.structs.replace(INPUT, tiles=None)
    assert ops.cut_tiles(frame, whole)[0] is frame


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("overlap", [0, 8, 32])
def test_weights_sum_to_one_in_every_cell(rows: int, columns: int, overlap: int) -> None:
    spec = InputSpec(
        height=64, width=64, scale=(1.0,) * 3, offset=(0.0,) * 3,
        tiles=TileSpec(rows=rows, columns=columns, overlap=overlap),
    )  # fmt: skip
    assert spec.tiles is not None
    height, width = (side // 4 for side in spec.frame)
    ones = np.ones((spec.batch, 16, 16), np.float32)
    assert ops.blend(ones, spec.tiles, height, width) == pytest.approx(np.ones((height, width)), abs=1e-6)


def test_an_overlap_leads_from_one_tile_to_the_next_without_a_step() -> None:
    tiles = TileSpec(rows=1, columns=2, overlap=16)
    maps = np.stack([np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)])
    blended = ops.blend(maps, tiles, 8, 12)
    assert (np.diff(blended, axis=1) <= 0.25 + 1e-6).all()
    assert (np.diff(blended, axis=1) >= 0).all()
    assert (blended[:, :4] == 0).all()
    assert (blended[:, 8:] == 1).all()


@pytest.mark.parametrize("at_once", [1, 4, 8])
def test_a_network_of_cells_sees_in_tiles_what_it_sees_in_the_whole(
    bundle: Bundle, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "AT_ONCE", at_once)
    frame = noise(*FRAME)
    with OnnxEngine(bundle, threads=1) as engine:
        reading = engine.infer([frame])[0]
    assert reading.anomaly_map == pytest.approx(cells(frame), abs=1e-5)
    assert reading.score == pytest.approx(cells(frame).max(), abs=1e-5)


def test_openvino_sees_the_same(bundle: Bundle) -> None:
    pytest.importorskip("openvino")
    frame = noise(200, 300)
    with Detector(bundle, engine="onnx") as one, Detector(bundle, engine="openvino") as other:
        assert other.read(frame).anomaly_map == pytest.approx(one.read(frame).anomaly_map, abs=1e-5)


def test_a_graph_that_tells_tiles_apart_gets_all_of_a_frame_at_once(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = msgspec.structs.replace(INPUT, tiles=msgspec.structs.replace(TILES, apart=True))
    other = Bundle(msgspec.structs.replace(bundle.manifest, input=apart), bundle.members())
    monkeypatch.setattr(base, "AT_ONCE", 2)
    batches: list[int] = []
    run = OnnxEngine._run
    monkeypatch.setattr(OnnxEngine, "_run", lambda self, tensor: batches.append(len(tensor)) or run(self, tensor))
    for one in (bundle, other):
        with OnnxEngine(one, threads=1) as engine:
            engine.infer([noise(*FRAME)])
    assert batches == [2, 2, 2, 6]


def test_regions_lie_in_pixels_of_the_frame(bundle: Bundle) -> None:
    frame = tiny.good(0, 448, 640)
    frame[192:256, 384:448] = 250
    with Detector(bundle, engine="onnx") as detector:
        result = detector(frame)
        empty = detector(tiny.good(0, 448, 640))
    assert result.is_anomalous
    assert not empty.is_anomalous
    (region,) = result.regions
    assert (region.x, region.y, region.width, region.height) == (384, 192, 64, 64)


def test_cells_that_are_not_judged_count_nothing(bundle: Bundle) -> None:
    frame = tiny.good(0, 448, 640)
    frame[:, 500:] = 250
    mask = np.ones((14, 20), np.float32)
    mask[:, 14:] = 0
    with Detector(bundle, engine="onnx") as detector:
        whole, masked = detector.detect_many([Frame(frame), Frame(frame)], [None, mask])
    assert whole.is_anomalous
    assert not masked.is_anomalous


def test_a_manifest_without_tiles_still_opens() -> None:
    raw = encode(tiny.manifest())
    old = msgspec.json.decode(raw)
    del old["input"]["tiles"]
    assert decode(msgspec.json.encode(old)).input.tiles is None


@pytest.mark.parametrize(
    "change",
    [
        {"fusion": msgspec.structs.replace(FUSION, width=21)},
        {"input": msgspec.structs.replace(INPUT, tiles=TileSpec(rows=2, columns=3, overlap=6))},
    ],
)
def test_cells_that_tiles_do_not_share_evenly_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="divide into"):
        tiny.manifest(**{"input": INPUT, "fusion": FUSION} | change)
    raw = msgspec.json.decode(encode(tiny.manifest(input=INPUT, fusion=FUSION)))
    raw |= {name: msgspec.to_builtins(value) for name, value in change.items()}
    with pytest.raises(BundleError, match="damaged"):
        decode(msgspec.json.encode(raw))


def test_the_overlap_is_at_most_half_of_a_tile() -> None:
    with pytest.raises(ValueError, match="more than half"):
        InputSpec(**{**msgspec.structs.asdict(INPUT), "tiles": TileSpec(rows=2, columns=2, overlap=20)})


@pytest.mark.parametrize(("text", "grid"), [("4x3", (3, 4)), ("1x1", (1, 1)), ("auto", None), ("", None)])
def test_a_grid_is_columns_by_rows(text: str, grid: tuple[int, int] | None) -> None:
    assert BuildConfig(data="x", tiles=text).tile_grid == grid


@pytest.mark.parametrize("text", ["4", "axb", "0x3", "100x100", "4x3x2"])
def test_what_is_no_grid_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="tiles must be"):
        BuildConfig(data="x", tiles=text)


def test_an_overlap_is_a_multiple_of_32(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tile_overlap"):
        BuildConfig(data="x", tiles="4x3", tile_overlap=20)
