"""DINOv2's ViT-S/14: shapes and counts of the description, and the same features as a plain version of it."""

from __future__ import annotations

import dinov2_layouts
import pytest
import sam_layouts
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from edgead.errors import WeightsError
from edgead_tools.backbones import dinov2
from edgead_tools.backbones.dinov2 import DinoV2, load_dinov2

pytestmark = pytest.mark.usefixtures("one_thread")


def test_shapes_parameters_and_products_are_those_of_the_description() -> None:
    network = DinoV2((224, 224)).eval()
    masked = 384  # the mask token, which features do without
    assert sum(each.numel() for each in network.parameters()) + masked == 22_056_576
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = network(torch.zeros(1, 3, 224, 224))
    assert found.shape == (1, 384, 16, 16)
    attention = 12 * 2 * 257**2 * 384  # which torch's counter passes over on a CPU
    assert counter.get_total_flops() / 2 + attention == pytest.approx(6.12e9, abs=1e7)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    monkeypatch.setattr(dinov2, "DEPTH", 2)
    return sam_layouts.filled(dinov2_layouts.dinov2_shapes(2))


def plain(state: dict[str, Tensor], image: Tensor) -> Tensor:
    """The last tokens by the published names, without torch's modules."""

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def normal(x: Tensor, name: str) -> Tensor:
        away = x - x.mean(-1, keepdim=True)
        scaled = away / (away.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    rows, columns = image.shape[2] // 14, image.shape[3] // 14
    cut = image.unflatten(2, (rows, 14)).unflatten(4, (columns, 14)).permute(0, 2, 4, 1, 3, 5).flatten(3)
    patches = cut.flatten(1, 2) @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"]
    table = state["pos_embed"][:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / 37, (columns + 0.1) / 37)
    table = functional.interpolate(table, scale_factor=scale, mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    positions = torch.cat([state["pos_embed"][:, :1], table], 1)
    x = torch.cat([state["cls_token"].expand(len(image), -1, -1), patches], 1) + positions
    for number in range(2):
        block = f"blocks.{number}"
        q, k, v = (
            part.unflatten(2, (6, 64)).transpose(1, 2)
            for part in linear(normal(x, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, 2)
        )
        mixed = (torch.softmax(q @ k.transpose(2, 3) / 8, -1) @ v).transpose(1, 2).flatten(2)
        x = x + state[f"{block}.ls1.gamma"] * linear(mixed, f"{block}.attn.proj")
        wide = linear(normal(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        x = x + state[f"{block}.ls2.gamma"] * linear(functional.gelu(wide), f"{block}.mlp.fc2")
    return normal(x, "norm")[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))


@torch.no_grad()
def test_it_gives_what_a_plain_version_gives_in_any_shape(state: dict[str, Tensor]) -> None:
    image = torch.randn(2, 3, 70, 112, generator=torch.Generator().manual_seed(1))
    found = load_dinov2(state, (70, 112))(image)
    assert found.shape == (2, 384, 5, 8)
    torch.testing.assert_close(found, plain(state, image), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_side_that_14_does_not_divide_is_stretched_to_the_nearest(state: dict[str, Tensor]) -> None:
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    network = load_dinov2(state, (64, 96))
    assert network.stretched == (70, 98)
    large = functional.interpolate(image, (70, 98), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(image), plain(state, large), rtol=1e-4, atol=1e-4)


def test_every_tensor_is_taken_by_name_and_nothing_else(state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"missing patch\.bias"):
        load_dinov2({name: one for name, one in state.items() if name != "patch_embed.proj.bias"}, (56, 56))
    with pytest.raises(WeightsError, match="unknown entry 'register_tokens'"):
        load_dinov2(state | {"register_tokens": torch.zeros(1, 4, 384)}, (56, 56))
    with pytest.raises(WeightsError, match=r"other shapes for positions"):
        load_dinov2(state | {"pos_embed": torch.zeros(1, 257, 384)}, (56, 56))
