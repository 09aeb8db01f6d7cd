"""Licenses of what a build learns from: found, carried in the bundle, and refused where they forbid commercial use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import pytest
import tiny

from edgead import BuildConfig, Bundle
from edgead.errors import UsageError
from edgead.progress import Reporter
from edgead_tools.pipeline.build import build
from edgead_tools.pipeline.licenses import UNKNOWN, check_commercial, is_free, license_in

TEXTS = {
    "CC-BY-NC-SA-4.0": "licensed under Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International",
    "CC-BY-NC-4.0": "Attribution-NonCommercial 4.0",
    "CC-BY-4.0": "This data set is under CC BY 4.0.",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "MIT": "MIT License\n\nCopyright",
    "research only": "The images may be used for scientific purposes only.",
    "see LICENSE.txt": "Ask Bob.",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_license_file_beside_the_images_is_read(tmp_path: Path, name: str) -> None:
    category = tmp_path / "set" / "bottle"
    category.mkdir(parents=True)
    assert license_in(category) == UNKNOWN
    (category.parent / "LICENSE.txt").write_text(TEXTS[name])
    assert license_in(category) == f"{name} (LICENSE.txt)"


@pytest.mark.parametrize(
    ("terms", "free"),
    [
        ("own", True),
        ("Apache-2.0", True),
        ("Apache-2.0; trained on ImageNet, whose images are for research", True),
        ("CC-BY-4.0 (license.txt)", True),
        ("BSD-3-Clause", True),
        ("CC-BY-NC-SA-4.0 (license.txt)", False),
        ("CC-BY-NC-4.0", False),
        ("AGPL-3.0", False),
        ("research only", False),
        (UNKNOWN, False),
        ("not stated: weights.pth is not the published file", False),
        ("MITten", False),
    ],
)
def test_only_what_is_known_to_be_free_is(terms: str, free: bool) -> None:
    assert is_free(terms) is free


def test_all_that_stands_in_the_way_is_named() -> None:
    found = {"images": "CC-BY-NC-SA-4.0", "efficientnet-lite0": "Apache-2.0", "textures": UNKNOWN}
    with pytest.raises(UsageError, match=r"images: CC-BY-NC-SA-4\.0, textures: not stated"):
        check_commercial(found)
    with pytest.raises(UsageError, match="--data-license own"):
        check_commercial({"images": UNKNOWN})
    check_commercial({"images": "own", "efficientnet-lite0": "Apache-2.0; trained on ImageNet"})


@pytest.fixture
def config(tmp_path: Path, tiny_method: str) -> BuildConfig:
    folder = tmp_path / "good"
    folder.mkdir()
    for seed in range(24):
        cv2.imwrite(str(folder / f"{seed}.png"), tiny.good(seed, 64, 64))
    return BuildConfig(method=tiny_method, data=str(folder), out=str(tmp_path / "part.edgead"), steps=1, size=64)


def changed(config: BuildConfig, **changes: Any) -> BuildConfig:
    return msgspec.structs.replace(config, **changes)


def test_a_commercial_build_refuses_and_says_what(config: BuildConfig, tmp_path: Path) -> None:
    (tmp_path / "good" / "license.txt").write_text(TEXTS["CC-BY-NC-SA-4.0"])
    with pytest.raises(UsageError, match=r"images: CC-BY-NC-SA-4\.0 \(license\.txt\)"):
        build(changed(config, commercial=True), Reporter())
    assert not config.bundle_path.exists()
    built = build(config, Reporter())
    assert built.bundle.manifest.provenance["licenses"]["images"] == "CC-BY-NC-SA-4.0 (license.txt)"


def test_licenses_travel_in_the_bundle_and_on_with_what_it_teaches(config: BuildConfig, edgead) -> None:
    build(changed(config, commercial=True, data_license="own"), Reporter())
    assert Bundle.open(config.bundle_path).manifest.provenance["licenses"] == {"images": "own"}
    assert "images: own" in edgead("info", config.bundle_path)[1]
