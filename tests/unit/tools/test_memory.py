"""Students and memory together: what is learned from good images, what weights follow, a build without training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boards
import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from edgead.bundle.manifest import FusionSpec, MapSpec, ScoreSpec
from edgead.errors import UsageError
from edgead.ops.fuse import fuse, image_score
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.export.network import export
from edgead_tools.layers.image_statistics import image_descriptor
from edgead_tools.methods import TrainingImages, create_method
from edgead_tools.methods.joined import Joined, add_memory
from edgead_tools.methods.lite import lite_batches, lite_tensor
from edgead_tools.methods.memory import (
    Maps,
    MemoryOptions,
    Remembered,
    Students,
    make_folds,
    memory_taps,
    read_maps,
    remember,
    where_it_shows,
)
from edgead_tools.methods.stlm.edge import load_trunk
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64
TRAIN, CALIBRATION = 14, 6
OPTIONS = MemoryOptions(memory=32, students=0.5)
OWN = FusionSpec(maps=(MapSpec(name="looks"),), height=16, width=16, score=ScoreSpec(top=4))


class Looks(Students):
    """Students that see what no good image shows, and a little of the picture itself; or nothing but noise."""

    def __init__(self, trunk: EfficientNetLite, images: TrainingImages, *, blind: bool = False) -> None:
        super().__init__()
        self.trunk, self.blind = trunk, blind
        self.good = torch.cat([pooled(batch) for batch in lite_batches(images, "cpu")()])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        seen = pooled(image)
        away = (seen[:, None] - self.good).abs().mean(2)  # from every good image
        nearest = away[torch.arange(len(seen)), away.mean((2, 3)).argmin(1)]
        found = torch.sin(1e6 * seen.mean(1)) if self.blind else 1e3 * nearest + seen.mean(1)
        return {"looks": found, **self.remembered(self.trunk(image))}


def pooled(image: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(image, 4)


def looks(network: Students, images: TrainingImages) -> Maps:
    """What the students say of good images."""
    return read_maps(network, lite_batches(images, "cpu")())


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def images() -> TrainingImages:
    return boards.training_images(TRAIN, CALIBRATION, SIZE)


@pytest.fixture(scope="module")
def trunk() -> EfficientNetLite:
    return load_trunk("efficientnet-lite0", load_state(find("efficientnet-lite0")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"), budget=0, threads=1)


@pytest.fixture(scope="module")
def remembered(trunk: EfficientNetLite, images: TrainingImages, run: Run) -> Remembered:
    return remember(trunk, images, run, OPTIONS)


@pytest.fixture(scope="module")
def joined(trunk: EfficientNetLite, images: TrainingImages, run: Run) -> Joined:
    network = Looks(trunk, images)
    return add_memory(network, trunk, OWN, looks(network, images), images, run, OPTIONS)


def test_every_good_image_is_left_out_once_and_those_to_calibrate_with_together() -> None:
    folds = make_folds(TRAIN, CALIBRATION)
    assert folds[0].tolist() == [*range(TRAIN, TRAIN + CALIBRATION)]
    assert sorted(torch.cat(folds).tolist()) == [*range(TRAIN + CALIBRATION)]


def test_images_of_one_part_are_left_out_together() -> None:
    groups = [*range(7)] * 4  # parts that take turns, in images to train and to calibrate with
    folds = make_folds(20, 8, groups=groups)
    assert sorted(torch.cat(folds).tolist()) == [*range(28)]
    members = [{groups[index] for index in fold.tolist()} for fold in folds]
    assert len(folds) == 5
    assert sum(map(len, members)) == 7


def test_a_unit_of_the_score_is_its_spread_over_good_images(remembered: Remembered) -> None:
    spec = remembered.fusion(8, 8, OWN.score)
    alone = msgspec.structs.replace(spec, maps=spec.maps[:2])
    count = TRAIN + CALIBRATION
    maps = remembered.out_of_fold
    usual = [index for index in range(count) if index not in remembered.strange]
    rows = ({name: maps[name][index] for name in ("memory", "surroundings")} for index in usual)
    assert np.std([image_score(fuse(row, alone), alone) for row in rows]) == pytest.approx(1, rel=1e-4)
    assert spec.maps[1].weight == pytest.approx(spec.maps[0].weight * count / (count + 100))
    assert spec.maps[2].weight == pytest.approx(OPTIONS.whole * count / (count + 100))


def test_students_get_their_share_in_units_of_their_own_spread(
    joined: Joined, trunk: EfficientNetLite, images: TrainingImages, remembered: Remembered
) -> None:
    of_students, memory, around, whole = joined.fusion.maps
    alone = remembered.fusion(16, 16, OWN.score)
    scores = [image_score(fuse({"looks": one}, OWN), OWN) for one in looks(Looks(trunk, images), images)["looks"]]
    assert of_students.weight == pytest.approx(OPTIONS.students / np.std(scores), rel=1e-3)
    assert memory.weight == pytest.approx((1 - OPTIONS.students) * alone.maps[0].weight, rel=1e-4)
    assert around.weight == pytest.approx((1 - OPTIONS.students) * alone.maps[1].weight, rel=1e-4)
    assert whole == alone.maps[2]
    assert joined.report["memory"]["students"]
    assert {name: len(maps) for name, maps in joined.out_of_fold.items()} == dict.fromkeys(
        ("looks", "memory", "surroundings", "whole"), TRAIN + CALIBRATION
    )


def test_what_was_found_is_told_with_its_figures(joined: Joined) -> None:
    memory = joined.report["memory"]
    part, turning, few, images, students = joined.report["findings"]
    assert part["found"] == "the part lies still"
    assert f"{memory['still']:.2f} times as far" in part["figures"]
    assert part["overrule"] == "--set places=no"
    assert turning["found"] == "the part lies in one direction"
    assert f"{memory['turned']:.2f} times as far" in turning["figures"]
    assert few["found"] == "the memory holds more than the images have"
    assert images["found"] == "20 good images"
    assert f"{memory['planted_auroc']['both']:.3f} with them" in students["figures"]


def test_the_network_gives_all_maps_of_the_fusion(joined: Joined, images: TrainingImages) -> None:
    maps = joined.network(lite_tensor(images.train[:2], "cpu"))
    assert {name: tuple(one.shape) for name, one in maps.items()} == {
        "looks": (2, 16, 16),
        "memory": (2, 4, 4),
        "surroundings": (2, 4, 4),
        "whole": (2, 4, 4),
    }


def test_students_that_find_nothing_are_left_out_of_the_graph(
    trunk: EfficientNetLite, images: TrainingImages, run: Run
) -> None:
    options = MemoryOptions(memory=32, students=0.9)
    network = Looks(trunk, images, blind=True)
    joined = add_memory(network, trunk, OWN, looks(network, images), images, run, options)
    assert not joined.report["memory"]["students"]
    assert [one.name for one in joined.fusion.maps] == ["memory", "surroundings", "whole"]
    assert set(joined.network(lite_tensor(images.train[:1], "cpu"))) == {"memory", "surroundings", "whole"}


def test_a_strange_picture_counts_where_the_memory_shows_it() -> None:
    memory = torch.tensor([[[-1.0, 0.5], [2.0, 4.0]]]).repeat(3, 1, 1)
    found = where_it_shows(torch.tensor([-2.0, 1.5, 100.0])[:, None, None], memory, 2.0)
    assert found[0].abs().max() == 0  # it is no better than usual
    assert found[1].tolist() == [[0.0, 0.375], [1.5, 3.0]]
    assert found[2].tolist() == [[0.0, 2.0], [8.0, 16.0]]


def test_the_picture_as_a_whole_is_described_at_a_thirty_second(
    trunk: EfficientNetLite, images: TrainingImages, remembered: Remembered
) -> None:
    coarse = memory_taps(trunk(lite_tensor(images.train[:3], "cpu")))[1]
    deep = trunk.blocks[11](coarse)
    assert deep.shape == (3, 192, SIZE // 32, SIZE // 32)
    vectors = torch.cat([deep.mean((2, 3)), (deep.var((2, 3), correction=0) + 1e-6).sqrt()], 1)
    assert torch.allclose(image_descriptor(remembered.memory.context(coarse)), vectors, atol=1e-4)
    assert remembered.memory.statistics.mean.shape == (2 * 192,)


def test_the_memory_reads_the_last_two_taps() -> None:
    taps = {2: torch.zeros(1), 4: torch.ones(1), 10: torch.full((1,), 2.0)}
    assert [float(one) for one in memory_taps(taps)] == [1, 2]


@pytest.mark.parametrize("method", ["ast_mfr", "csad", "stlm"])
def test_without_a_budget_the_memory_alone_judges(method: str, images: TrainingImages, tmp_path: Path) -> None:
    trained = create_method(method, "edge", {"memory": 32}).train(images, Run(tmp_path, budget=0, threads=1))
    assert trained.report["steps"] == 0
    assert trained.report["memory"]["patches"] == 32
    bad = boards.boards(4, SIZE, 100)
    bad[:, 20:32, 20:32] = 255 - bad[:, 20:32, 20:32]
    maps = trained.network(lite_tensor(np.concatenate([boards.boards(4, SIZE, 100), bad]), "cpu"))
    scores = [
        image_score(fuse({name: one[index].numpy() for name, one in maps.items()}, trained.fusion), trained.fusion)
        for index in range(8)
    ]
    assert max(scores[:4]) < min(scores[4:])


def test_the_exported_graph_gives_torchs_maps(images: TrainingImages, tmp_path: Path) -> None:
    trained = create_method("stlm", "edge", {"memory": 32}).train(images, Run(tmp_path, budget=0, threads=1))
    strange = 255 - boards.boards(3, SIZE, 100)
    with torch.enable_grad():  # as a build exports
        report = export(trained, tmp_path / "model.onnx", strange)  # raises where a map differs
    assert report.outputs == {"memory": (4, 4), "surroundings": (4, 4), "whole": (4, 4)}
    assert trained.network(lite_tensor(strange, "cpu"))["whole"].max() > 1


def test_nothing_at_all_is_refused(images: TrainingImages, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trains nothing, and memory=0 remembers nothing"):
        create_method("stlm", "edge", {"memory": 0}).train(images, Run(tmp_path, budget=0))


@pytest.mark.parametrize("options", [{"memory": -1}, {"whole": -0.1}, {"students": 1.0}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        create_method("ast_mfr", "edge", options)
