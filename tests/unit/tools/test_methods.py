"""The seam between methods and the build: options are checked, images are checked, names are suggested."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from torch import Tensor, nn

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead.errors import DataError, UsageError
from edgead.registry import Lazy
from edgead_tools.methods import METHODS, Method, Trained, TrainingImages, create_method
from edgead_tools.training.run import Run


class Gray(nn.Module):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"gray": image.mean(1)}


@dataclass(frozen=True, slots=True)
class Tiny:
    """The distance from gray."""

    name: ClassVar[str] = "tiny"
    preset: ClassVar[str] = "edge"
    size: ClassVar[int] = 64
    distils: ClassVar[bool] = False
    memory: ClassVar[int] = 0
    weights: ClassVar[tuple[str, ...]] = ()
    sigma: float = 1.0
    taps: tuple[int, ...] = (2, 4)
    kind: str = "plain"

    def train(self, images: TrainingImages, run: Run) -> Trained:
        height, width = images.size
        spec = InputSpec(height=height, width=width, scale=(1.0, 1.0, 1.0), offset=(0.0, 0.0, 0.0))
        fusion = FusionSpec(maps=(MapSpec(name="gray"),), height=height, width=width, sigma=self.sigma)
        return Trained(Gray().eval(), spec, fusion, {"images": len(images.train)})


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("tiny_method")
    module.Tiny = Tiny  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiny_method", module)
    monkeypatch.setitem(METHODS.builtin, "tiny.edge", Lazy("tiny_method:Tiny"))
    return "tiny"


def test_a_method_takes_its_options(tiny: str) -> None:
    method: Method = create_method(tiny, "edge", {"sigma": "0.5", "taps": [1, 3]})  # text comes from --set
    assert method == Tiny(sigma=0.5, taps=(1, 3))
    assert (method.name, method.weights) == ("tiny", ())


def test_unknown_names_are_answered_with_the_nearest(tiny: str) -> None:
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        create_method("tinny", "edge", {})
    with pytest.raises(UsageError, match="no preset 'edgy': did you mean 'edge'"):
        create_method(tiny, "edgy", {})
    with pytest.raises(UsageError, match="did you mean 'sigma'"):
        create_method(tiny, "edge", {"sigmma": 1})
    with pytest.raises(UsageError, match="no option 'name'"):
        create_method(tiny, "edge", {"name": "mine"})


@pytest.mark.parametrize("options", [{"sigma": "wide"}, {"taps": 3}, {"taps": ["a"]}, {"kind": 5.5}])
def test_a_value_of_the_wrong_type_is_refused(tiny: str, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=rf"method 'tiny', preset 'edge', cannot be used: .*{next(iter(options))}"):
        create_method(tiny, "edge", options)


def test_a_method_trains(tiny: str, tmp_path: Path) -> None:
    images = np.zeros((3, 8, 16, 3), np.uint8)
    trained = create_method(tiny, "edge", {}).train(TrainingImages(images, images[:1]), Run(tmp_path, steps=1))
    assert (trained.input.height, trained.input.width) == (8, 16)
    assert trained.report == {"images": 3}


@pytest.mark.parametrize(
    ("train", "calibration"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), np.zeros((1, 8, 8, 3), np.uint8)),
        (np.zeros((2, 8, 8), np.uint8), np.zeros((1, 8, 8, 3), np.uint8)),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, 8, 9, 3), np.uint8)),
    ],
)
def test_images_that_cannot_be_learned_from_are_refused(train: np.ndarray, calibration: np.ndarray) -> None:
    with pytest.raises(DataError, match="images"):
        TrainingImages(train, calibration)


@pytest.mark.parametrize(("given", "taken"), [(False, "no"), (True, "yes"), ("no", "no"), ("auto", "auto")])
def test_yes_and_no_are_words_where_an_option_takes_words(given: object, taken: str) -> None:
    """YAML reads `--set places=no` as a truth value."""
    assert create_method("stlm", "edge", {"places": given}).places == taken  # type: ignore[attr-defined]


def test_a_word_that_an_option_does_not_know_is_answered_with_those_it_does() -> None:
    with pytest.raises(UsageError, match="cannot be used: 'places' is one of auto, yes, no, not 'never'"):
        create_method("stlm", "edge", {"places": "never"})
