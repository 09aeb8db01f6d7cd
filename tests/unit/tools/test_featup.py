"""FeatUp's upsampler: counts of the description, and the same features as a plain version of it."""

from __future__ import annotations

import dinov2_layouts
import pytest
import sam_layouts
import torch
from torch import Tensor
from torch.nn import functional

from edgead.errors import WeightsError
from edgead_tools.backbones.featup import FeatUp, Stage, load_featup, pooling

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    found = sam_layouts.filled(dinov2_layouts.featup_shapes())
    return {name: one.abs() + 0.5 if name.endswith("sigma_spatial") else one for name, one in found.items()}


def test_parameters_are_as_many_as_described() -> None:
    assert sum(each.numel() for each in Stage().parameters()) == 6233
    whole = FeatUp(384, (16, 16), (224, 224), 3)
    assert sum(each.numel() for each in whole.parameters()) == 3 * 6233 + 147_840


def plain(state: dict[str, Tensor], number: int, source: Tensor, guide: Tensor) -> Tensor:
    """One stage by the published names, with everything unfolded."""
    height, width = guide.shape[2:]

    def conv(x: Tensor, name: str) -> Tensor:
        name = f"upsampler.up{number}.{name}"
        return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def unfolded(x: Tensor) -> Tensor:
        padded = functional.pad(x, (3, 3, 3, 3), mode="reflect")
        return functional.unfold(padded, 7).reshape(len(x), x.shape[1], 49, height, width)

    key = conv(functional.gelu(conv(guide, "range_proj.0")), "range_proj.3")
    heat = state[f"upsampler.up{number}.range_temp"].exp().clamp(1e-4, 1e4)
    kernel = torch.softmax(heat * (unfolded(key) * key[:, :, None]).sum(1), 1)
    line = torch.linspace(-1, 1, 7)
    y, x = torch.meshgrid(line, line, indexing="ij")
    sigma = state[f"upsampler.up{number}.sigma_spatial"]
    kernel = kernel * torch.exp(-(x**2 + y**2) / (2 * sigma**2)).reshape(1, 49, 1, 1)
    kernel = kernel / kernel.sum(1, keepdim=True).clamp(min=1e-7)
    joined = torch.cat([kernel, guide], 1)
    kernel = kernel + 0.1 * conv(functional.gelu(conv(joined, "fixup_proj.0")), "fixup_proj.3")
    large = functional.interpolate(source, (height, width), mode="bicubic", align_corners=False)
    return (unfolded(large) * kernel[:, None]).sum(2)


@torch.no_grad()
@pytest.mark.parametrize("stages", [1, 3])
def test_it_gives_what_a_plain_version_gives(state: dict[str, Tensor], stages: int) -> None:
    random = torch.Generator().manual_seed(3)
    features, image = torch.randn(2, 384, 5, 4, generator=random), torch.randn(2, 3, 70, 56, generator=random)
    found = load_featup(state, 384, (5, 4), (70, 56), stages)(features, image)
    expected = functional.layer_norm(features.permute(0, 2, 3, 1), (384,)).permute(0, 3, 1, 2)
    for number in range(1, stages + 1):
        guide = functional.adaptive_avg_pool2d(image, (5 << number, 4 << number))
        expected = plain(state, number, expected, guide)
    last = functional.conv2d(expected, state["upsampler.fixup_proj.1.weight"], state["upsampler.fixup_proj.1.bias"])
    assert found.shape == (2, 384, 5 << stages, 4 << stages)
    torch.testing.assert_close(found, expected + 0.1 * last, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_without_stages_features_stay(state: dict[str, Tensor]) -> None:
    features = torch.randn(1, 384, 4, 4)
    assert torch.equal(load_featup(state, 384, (4, 4), (56, 56), 0)(features, torch.zeros(1, 3, 56, 56)), features)


@pytest.mark.parametrize(("before", "after"), [(224, 32), (224, 64), (224, 128), (70, 40), (13, 13)])
def test_the_matrices_pool_as_torch_does(before: int, after: int) -> None:
    values = torch.randn(1, 1, before, before)
    matrix = torch.from_numpy(pooling(before, after))
    expected = functional.adaptive_avg_pool2d(values, (after, after))
    torch.testing.assert_close(matrix @ values @ matrix.T, expected, rtol=1e-4, atol=1e-5)


def test_every_tensor_is_taken_by_name_and_a_foreign_one_refused(state: dict[str, Tensor]) -> None:
    lacking = {name: one for name, one in state.items() if name != "upsampler.up2.sigma_spatial"}
    with pytest.raises(WeightsError, match=r"missing stages\.2\.sigma"):
        load_featup(lacking, 384, (4, 4), (56, 56), 3)
    with pytest.raises(WeightsError, match=r"unknown entry 'upsampler\.up5\.odd'"):
        load_featup(state | {"upsampler.up5.odd": torch.zeros(1)}, 384, (4, 4), (56, 56), 3)
