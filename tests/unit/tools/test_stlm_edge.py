"""STLM: options that are checked, a training that is split and repeated, losses that fall."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boards
import pytest
import torch
from torch import Tensor

from edgead.errors import UsageError
from edgead_tools.methods import Trained, create_method
from edgead_tools.methods.stlm.edge import StlmEdge
from edgead_tools.training import loop as train
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = StlmEdge(width=16, code=4, batch=4, memory=0)  # the streams alone; `test_memory` has what stands beside them
STEPS = 32


def fit(method: StlmEdge, folder: Path, **changes: Any) -> Trained:
    images = boards.training_images(6, 2)
    return method.train(images, Run(folder, threads=1, **changes))


def same(one: Trained, other: Trained) -> bool:
    pairs = zip(one.network.state_dict().items(), other.network.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trained, Path]]:
    """Trained with the default network, half of the steps on the head, losses logged every four steps."""
    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "LOG_EVERY", 4)
        yield fit(StlmEdge(head_share=0.5, memory=0), folder, steps=STEPS), folder


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fit(SMALL, tmp_path_factory.mktemp("short"), steps=3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"widht": 64}, "no option 'widht': did you mean 'width'"),
        ({"haed": 0}, "did you mean 'head'"),
        ({"width": "wide"}, "an option of method 'stlm', preset 'edge', cannot be used"),
        ({"flips": "perhaps"}, "an option of method 'stlm', preset 'edge', cannot be used"),
        ({"width": 4}, "width must be at least 8"),
        ({"batch": 1}, "batch at least 2"),
        ({"code": 0}, "code at least 1"),
        ({"head": -0.1}, "head must be at least 0"),
        ({"head": math.inf}, "head must be at least 0"),
        ({"head_share": 1.0}, "head_share in"),
        ({"top": 0}, "top must lie in"),
        ({"anomaly_rate": 1.5}, "anomaly_rate in"),
        ({"rate": 0}, "rate and passes must be above 0"),
        ({"rate": math.nan}, "rate and passes must be above 0"),
        ({"passes": 0}, "rate and passes must be above 0"),
        ({"rotation": -1}, "rotation in"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(options: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        create_method("stlm", "edge", options)


def test_options_come_as_text_from_the_command_line() -> None:
    options = {"flips": "true", "head": "0", "width": "64", "rotation": "5"}
    assert create_method("stlm", "edge", options) == StlmEdge(flips=True, head=0.0, width=64, rotation=5.0)


def test_without_a_head_all_steps_denoise(tmp_path: Path) -> None:
    trained = fit(replace(SMALL, head=0.0), tmp_path, steps=2)
    assert [stage["stage"] for stage in trained.report["stages"]] == ["denoising"]
    assert trained.report["steps"] == 2
    assert [part.name for part in trained.fusion.maps] == ["stacked", "coarse"]
    with torch.inference_mode():
        assert set(trained.network(torch.zeros(1, 3, 64, 64))) == {"stacked", "coarse"}
    assert not [name for name in trained.network.state_dict() if name.startswith("head")]


def test_the_report_counts_both_parts(logged: tuple[Trained, Path]) -> None:
    report = logged[0].report
    assert [(stage["stage"], stage["steps"]) for stage in report["stages"]] == [("denoising", 16), ("head", 16)]
    assert report["steps"] == STEPS
    assert report["seconds"] == pytest.approx(sum(stage["seconds"] for stage in report["stages"]), abs=0.1)


@pytest.mark.parametrize(
    ("stage", "loss"), [("denoising", "fine"), ("denoising", "coarse"), ("head", "focal"), ("head", "l1")]
)
def test_every_loss_falls(logged: tuple[Trained, Path], stage: str, loss: str) -> None:
    lines = [json.loads(line) for line in (logged[1] / f"{stage}.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert lines[-1][loss] < lines[0][loss]


def test_the_heads_map_is_standardized_over_good_images(logged: tuple[Trained, Path]) -> None:
    trained = logged[0]
    (part,) = (part for part in trained.fusion.maps if part.name == "head")
    images = boards.training_images(6, 2)
    from_bytes = torch.cat([_normalized(images.train), _normalized(images.calibration)])
    with torch.inference_mode():
        logits = trained.network(from_bytes)["head"] * part.scale + part.offset
    assert logits.mean().item() == pytest.approx(0, abs=1e-3)
    assert logits.std(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_the_heads_map_counts_by_the_number_of_good_images(logged: tuple[Trained, Path]) -> None:
    (part,) = (part for part in logged[0].fusion.maps if part.name == "head")
    assert part.weight == pytest.approx(StlmEdge().head * 8 / (8 + 100))


def _normalized(images: Any) -> Tensor:
    return torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2) / 128 - 127 / 128


def test_the_same_seed_gives_the_same_network(short: Trained, tmp_path: Path) -> None:
    torch.manual_seed(99)  # nothing outside may matter
    again = fit(SMALL, tmp_path, steps=3)
    assert same(again, short)
    assert again.fusion == short.fusion


def test_another_seed_gives_another_network(short: Trained, tmp_path: Path) -> None:
    other = fit(SMALL, tmp_path, steps=3, seed=1).network.state_dict()
    mine = short.network.state_dict()
    for name in ("streams.denoising.code.weight", "head.logit.weight", "streams.denoising.means.0"):
        assert not torch.equal(mine[name], other[name])
    assert all(torch.equal(mine[name], other[name]) for name in mine if name.startswith("streams.trunk"))
