"""Pseudo-anomalies: the noise against a plain version, the blend against its equation, and what must always hold."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError
from edgead_tools.data.anomalies import (
    MASKS,
    PATTERNS,
    AlteredCrops,
    Anomalies,
    FolderTextures,
    Kind,
    MixedTextures,
    ProceduralTextures,
    blend,
    default_textures,
    perlin_mask,
    perlin_noise,
)

IMAGES = np.random.default_rng(3).integers(0, 256, (2, 64, 48, 3), np.uint8)


def plain_perlin(height: int, width: int, angle: np.ndarray) -> np.ndarray:
    """Ken Perlin's noise, pixel by pixel."""
    rows, columns = angle.shape[0] - 1, angle.shape[1] - 1
    noise = np.empty((height, width))
    for r in range(height):
        for c in range(width):
            y, x = r * rows / height, c * columns / width
            i, j = math.floor(y), math.floor(x)
            v, u = y - i, x - j
            fade = [t**3 * (t * (6 * t - 15) + 10) for t in (v, u)]
            total = 0.0
            for di, wy in ((0, 1 - fade[0]), (1, fade[0])):
                for dj, wx in ((0, 1 - fade[1]), (1, fade[1])):
                    a = angle[i + di, j + dj]
                    total += wy * wx * (math.cos(a) * (u - dj) + math.sin(a) * (v - di))
            noise[r, c] = total
    return noise


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"), [(16, 16, 1, 1), (24, 40, 4, 8), (21, 13, 2, 4), (33, 32, 32, 32)]
)
def test_noise_equals_the_plain_version(height: int, width: int, rows: int, columns: int) -> None:
    noise = perlin_noise(height, width, rows, columns, np.random.default_rng(7))
    angle = np.random.default_rng(7).uniform(0, 2 * np.pi, (rows + 1, columns + 1))
    np.testing.assert_allclose(noise, plain_perlin(height, width, angle), atol=1e-5)


def test_masks_cover_little_and_are_sometimes_empty() -> None:
    covered = [perlin_mask(64, 64, np.random.default_rng(seed)).mean() for seed in range(300)]
    assert 0.03 < np.mean(covered) < 0.15
    assert min(covered) == 0.0
    assert max(covered) < 0.8


@pytest.mark.parametrize("kind", ["crack", "blob"])
def test_cracks_and_blobs_are_small(kind: Kind) -> None:
    covered = [MASKS[kind](128, 128, np.random.default_rng(seed)).mean() for seed in range(100)]
    assert max(covered) < 0.06
    assert np.mean([share > 0 for share in covered]) > 0.98


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(MASKS)),
    height=st.integers(16, 70),
    width=st.integers(16, 70),
)
def test_what_always_holds(seed: int, kind: Kind, height: int, width: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    before = image.copy()
    anomalies = Anomalies(default_textures(IMAGES), probability=1.0, kinds=(kind,))
    changed, mask = anomalies.draw(image, np.random.default_rng(seed))
    assert (mask.dtype, mask.shape) == (np.bool_, (height, width))
    assert (changed.dtype, changed.shape) == (np.uint8, image.shape)
    assert np.array_equal(changed[~mask], image[~mask])
    assert np.array_equal(image, before)
    assert not np.shares_memory(changed, image)
    again, _ = anomalies.draw(image, np.random.default_rng(seed))
    assert np.array_equal(changed, again)


@given(beta=st.floats(0, 0.8), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_blend_is_its_equation(beta: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    image, texture = random.integers(0, 256, (2, 9, 7, 3), np.uint8)
    mask = random.random((9, 7)) < 0.5
    m = mask[:, :, None].astype(np.float64)
    expected = (1 - m) * image + (1 - beta) * m * texture + beta * m * image
    found = blend(image, texture, mask, beta)
    assert np.abs(found - np.floor(expected)).max() <= 1  # a float32 sum may fall on the other side of an integer
    assert np.abs(found - expected).max() < 1 + 1e-3


def test_beta_and_probability_are_drawn_from_their_ranges() -> None:
    class White:
        def draw(self, height: int, width: int, random: np.random.Generator) -> np.ndarray:
            return np.full((height, width, 3), 200, np.uint8)

    black = np.zeros((32, 32, 3), np.uint8)
    random = np.random.default_rng(0)
    anomalies = Anomalies(White(), kinds=("blob",))
    drawn = [anomalies.draw(black, random) for _ in range(600)]
    assert np.mean([mask.any() for _, mask in drawn]) == pytest.approx(0.5, abs=0.06)
    strengths = [int(image.max()) for image, mask in drawn if mask.any()]
    assert min(strengths) >= 200 * 0.2 - 1  # beta below 0.8
    assert max(strengths) > 190
    assert np.mean(strengths) == pytest.approx(200 * 0.6, abs=8)


def test_textures_fill_the_size_and_differ() -> None:
    random = np.random.default_rng(5)
    for textures in (ProceduralTextures(), AlteredCrops(IMAGES), MixedTextures((AlteredCrops(IMAGES),))):
        drawn = [textures.draw(40, 56, random) for _ in range(12)]
        assert {(texture.dtype, texture.shape) for texture in drawn} == {(np.dtype(np.uint8), (40, 56, 3))}
        assert len({texture.tobytes() for texture in drawn}) == 12
    for pattern in PATTERNS:
        found = pattern(33, 50, random)
        assert (found.shape, found.dtype) == ((33, 50), np.float32)
        assert np.isfinite(found).all()


def test_a_folder_of_textures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no texture images"):
        default_textures(IMAGES, tmp_path)
    (tmp_path / "banded").mkdir()
    cv2.imwrite(str(tmp_path / "banded" / "a.png"), IMAGES[0])
    (tmp_path / "note.txt").write_text("not an image")
    textures = FolderTextures.open(tmp_path)
    assert textures.draw(20, 30, np.random.default_rng(0)).shape == (20, 30, 3)
    (tmp_path / "b.jpg").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"b\.jpg is damaged"):
        FolderTextures((tmp_path / "b.jpg",)).draw(20, 30, np.random.default_rng(0))
