"""Objects matched with those of good scenes: what is named, where, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import object_scenes
import pytest
import tiny
from object_scenes import COLORS, PLACES, SIDE, Shapes, draw, good, outputs_of, usual

from edgead import Bundle, Detector, Verdict
from edgead.bundle import FusionSpec, MatchingSpec
from edgead.bundle.manifest import decode, encode
from edgead.errors import BundleError
from edgead.kserve.model import Source, from_tensors, to_tensors
from edgead.ops import judge_objects, load_references
from edgead.ops.findings import find_objects
from edgead.ops.matching import measure
from edgead.ops.references import References
from edgead.ops.scene import Scene, find_masks, see
from edgead.types import Branches


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return object_scenes.bundle()


@pytest.fixture(scope="module")
def references(bundle: Bundle) -> References:
    found = load_references(bundle)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def detector(bundle: Bundle) -> Iterator[Detector]:
    with Detector(bundle, engine="onnx", threads=1) as opened:
        yield opened


def scene_of(image: np.ndarray, references: References) -> Scene:
    spec, outputs = references.spec, outputs_of(image)
    return see(find_masks(image, outputs, spec.proposals, references.scenery), outputs, spec)


def picture(change: str, seed: int = 500) -> np.ndarray:
    random = np.random.default_rng(seed)
    shapes: Shapes = usual(random)
    if change == "missing":
        del shapes[0]
    elif change == "extra":
        shapes.append(("green", 64, 64))
    elif change == "moved":
        shapes[2] = ("blue", 64, 64)
    elif change == "changed":
        shapes[3] = ("green", *shapes[3][1:])
    return draw(shapes, random)


def test_the_usual_objects_are_found_each_in_its_slot(references: References) -> None:
    spec = references.spec
    assert len(spec.slots) == len(spec.kinds) == spec.proposals.count == 4
    places = {(round(slot.x * SIDE / 32) * 32, round(slot.y * SIDE / 32) * 32) for slot in spec.slots}
    assert places == set(PLACES.values())
    assert spec.place > 0
    for seed in range(100, 105):
        found = measure(scene_of(good(seed), references), references)
        assert sorted(found.slots) == [0, 1, 2, 3]
        assert found.missing == ()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("missing", "at the top left"),
        ("extra", "at the middle center"),
        ("moved", "at the middle center"),
        ("changed", "at the bottom right"),
    ],
)
def test_each_change_is_named_with_its_object_and_place(detector: Detector, change: str, place: str) -> None:
    result = detector(picture(change))
    assert result.verdict is Verdict.NG
    assert result.branches is not None
    found = result.branches.objects
    assert [(one.change, one.place) for one in found] == [(change, place)]
    assert result.reasons == (str(found[0]),)
    told = json.loads(result.to_json())["objects"][0]
    assert (told["change"], told["place"], told["object"]) == (change, place, found[0].object)
    middle = told["x"] + told["width"] / 2, told["y"] + told["height"] / 2
    expected = {"missing": (32, 32), "changed": (96, 96)}.get(change, (64, 64))
    assert np.hypot(middle[0] - expected[0], middle[1] - expected[1]) < 8


def test_good_scenes_are_ok_and_the_map_is_high_where_something_differs(detector: Detector) -> None:
    for seed in range(200, 210):
        assert detector(good(seed)).verdict is Verdict.OK
    for change, (x, y) in {"missing": (32, 32), "extra": (64, 64), "changed": (96, 96)}.items():
        grid = detector(picture(change)).grid_map
        row, column = np.unravel_index(int(grid.argmax()), grid.shape)
        assert np.hypot(8 * column + 4 - x, 8 * row + 4 - y) < 20, change


def test_one_that_looks_like_the_other_has_moved_if_the_other_looks_like_it(references: References) -> None:
    scene, spec = scene_of(good(100), references), references.spec
    measured = measure(scene, references)
    deviations = np.zeros((4, 4), np.float32)
    deviations[0, 0] = spec.notable + 1  # of the first alone: the other is no worse than good ones are
    kinds = measured.closest.tolist()
    for exchanged, change in (([kinds[3], *kinds[1:]], "changed"), ([kinds[3], *kinds[1:3], kinds[0]], "moved")):
        mistaken = replace(measured, closest=np.array(exchanged), fits=np.zeros(4, np.float32))
        (found,) = find_objects(scene, mistaken, deviations, references)
        assert found.change == change
        assert found.object == spec.kinds[kinds[3] if change == "moved" else kinds[0]].name


def test_two_that_changed_places_have_moved(detector: Detector) -> None:
    random = np.random.default_rng(0)
    shapes = usual(random)
    (one, *place), (other, *its) = shapes[0], shapes[3]
    shapes[0], shapes[3] = (one, *its), (other, *place)  # type: ignore[assignment]
    result = detector(draw(shapes, random))
    assert result.verdict is Verdict.NG
    assert result.branches is not None
    assert [found.change for found in result.branches.objects] == ["moved", "moved"]


@pytest.mark.parametrize("count", [0, 1, 20])
def test_any_number_of_objects_is_judged(detector: Detector, count: int) -> None:
    places = [(16 + 24 * (index % 5), 16 + 30 * (index // 5)) for index in range(count)]
    image = np.full((SIDE, SIDE, 3), 30, np.uint8)
    for x, y in places:
        image[y - 5 : y + 5, x - 5 : x + 5] = COLORS["green"]
    image[:2, :2] = 31  # no image without contrast
    result = detector(image)
    assert result.verdict is Verdict.NG
    assert np.isfinite(result.score)
    assert np.isfinite(result.grid_map).all()
    assert result.branches is not None
    changes = [found.change for found in result.branches.objects]
    assert changes.count("missing") >= min(4, 4 - count)


def test_the_nearest_images_are_those_of_a_plain_search(references: References) -> None:
    scene = scene_of(good(300), references)
    key = scene.key(references.spec.bank_height, references.spec.bank_width).astype(np.float64)
    plain = np.linalg.norm(references.bank.astype(np.float64) - key, axis=1)
    assert references.nearest(scene) == np.argsort(plain, kind="stable")[:3].tolist()
    first = references.nearest(scene)[0]
    assert first not in references.nearest(scene, (first,))


def test_neither_the_order_of_masks_nor_of_references_matters(references: References) -> None:
    image = picture("changed")
    spec, outputs = references.spec, outputs_of(image)
    masks = find_masks(image, outputs, spec.proposals, references.scenery)
    assert len(masks) == 4
    forward, backward = (see(ordered, outputs, spec) for ordered in (masks, masks[::-1]))
    np.testing.assert_array_equal(forward.places, backward.places)
    turned = _turned(references)
    fused = np.zeros((16, 16), np.float32)
    fusion = FusionSpec(maps=(), height=16, width=16, matching=spec)
    plain, other = (judge_objects(image, outputs, fused, fusion, held) for held in (references, turned))
    np.testing.assert_allclose(plain[0], other[0], rtol=1e-3, atol=1e-3)
    assert plain[1] == pytest.approx(other[1], rel=1e-4)
    assert plain[2].objects == other[2].objects


def _turned(references: References) -> References:
    """The same good images in the opposite order."""
    count = len(references.bank)
    rows = np.concatenate([references.objects_of(image) for image in range(count)[::-1]])
    table = references.table[rows].copy()
    table[:, 0] = count - 1 - table[:, 0]
    return replace(
        references,
        bank=references.bank[::-1],
        labels=references.labels[::-1],
        table=table,
        away=references.away[rows],
        raw_boxes=references.raw_boxes[rows],
    )


@pytest.mark.parametrize(
    "options",
    [{"match": "hungarian"}, {"measure": "literal"}, {"descriptor": "gmp"}, {"neighbors": 1}, {"light": True}],
    ids=str,
)
def test_options_name_the_same(options: dict[str, object]) -> None:
    with Detector(object_scenes.bundle(**options), engine="onnx", threads=1) as detector:
        assert detector(good(400)).verdict is Verdict.OK
        for change in ("missing", "changed"):
            result = detector(picture(change))
            assert result.verdict is Verdict.NG
            assert result.branches is not None
            assert [one.change for one in result.branches.objects] == [change]


def test_the_light_map_shows_unmatched_objects_alone() -> None:
    with Detector(object_scenes.bundle(light=True), engine="onnx", threads=1) as detector:
        assert detector.read(picture("changed")).anomaly_map.max() == 0
        assert detector.read(picture("extra")).anomaly_map.max() > 0


def test_the_overlay_draws_what_differs(detector: Detector) -> None:
    image = picture("missing")
    result = detector(image)
    branches = result.branches
    assert branches is not None
    silent = replace(result, branches=Branches(branches.logical, branches.structural, branches.labels, ()))
    drawn, plain = result.overlay(image), silent.overlay(image)
    x, y, width, height = branches.objects[0].box(result.frame_size)
    changed = (drawn != plain).any(axis=2)
    assert changed[y, x : x + width].any()
    assert not changed[y + 2 : y + height - 2, x + width + 40 :].any()


def test_a_mask_of_the_frame_keeps_the_map_within_it(references: References) -> None:
    image = picture("missing")
    fusion = FusionSpec(maps=(), height=16, width=16, matching=references.spec)
    fused, mask = np.zeros((16, 16), np.float32), np.ones((16, 16), np.float32)
    mask[:8, :8] = 0
    whole, _, _ = judge_objects(image, outputs_of(image), fused, fusion, references)
    judged, _, branches = judge_objects(image, outputs_of(image), fused, fusion, references, mask)
    assert whole[:8, :8].max() > 1
    assert judged[:8, :8].max() == 0
    assert branches.objects


def test_the_manifest_keeps_it_and_the_file_opens(bundle: Bundle, tmp_path: Path) -> None:
    assert decode(encode(bundle.manifest)) == bundle.manifest
    object_scenes.write(tmp_path / "scenes.edgead")
    with Detector(tmp_path / "scenes.edgead", engine="onnx", threads=1) as detector:
        assert detector(picture("missing")).verdict is Verdict.NG


def test_objects_survive_the_inference_protocol(detector: Detector) -> None:
    reading = detector.read(picture("changed"))
    assert reading.branches is not None
    raw = to_tensors(reading, 1.5, Source("d" * 64, "onnx", "fp32"))
    found, _ = from_tensors(raw, reading.anomaly_map.shape)
    assert found.branches is not None
    assert found.branches.objects == reading.branches.objects != ()


def _with(bundle: Bundle, **members: np.ndarray) -> Bundle:
    return Bundle(bundle.manifest, bundle.members() | {f"matching/{n}.npy": tiny.npy(a) for n, a in members.items()})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bank", lambda one: one[:, :-1]),
        ("bank", lambda one: one.astype(np.float32)),
        ("labels", lambda one: one[:-1]),
        ("labels", lambda one: np.zeros_like(one)),
        ("objects", lambda one: one + np.float32([0, 9, 0, 0, 0])),
        ("objects", lambda one: one[::-1].copy()),
        ("descriptors", lambda one: one[1:]),
        ("boxes", lambda one: np.where(one > 0, np.nan, one).astype(np.float16)),
        ("projection", lambda one: one[:1]),
    ],
)
def test_members_that_do_not_fit_are_refused(bundle: Bundle, references: References, name: str, change) -> None:
    held = {
        "bank": references.bank, "labels": references.labels, "objects": references.table,
        "descriptors": np.concatenate([references.center[None], references.away]),
        "boxes": references.raw_boxes,
        "projection": np.concatenate([references.mean_box[None], references.components]),
    }[name]  # fmt: skip
    with pytest.raises(BundleError, match=r"matching/\w+\.npy.*build the bundle again"):
        load_references(_with(bundle, **{name: change(held)}))


def test_a_spec_that_makes_no_sense_is_refused(references: References) -> None:
    plain: MatchingSpec = references.spec
    for wrong in ({"features": ()}, {"neighbors": 0}, {"temperature": 0.0}, {"slots": ()}, {"kinds": plain.kinds[:1]}):
        raw = msgspec.json.encode({**msgspec.to_builtins(plain), **msgspec.to_builtins(wrong)})
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(raw, type=MatchingSpec)
