"""SAM asked at points: masks and ratings against a plain version of the published decoder, and strict loading."""

from __future__ import annotations

import math

import pytest
import sam_layouts
import torch
from torch import Tensor
from torch.nn import functional

from edgead.errors import WeightsError
from edgead_tools.backbones.sam import PromptedSam, load_prompted_sam
from edgead_tools.backbones.sam_vit import SamVit

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"channels": 32, "depth": 2, "heads": 2, "every": 2}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return sam_layouts.filled(sam_layouts.sam_vit_shapes(**SMALL))


@pytest.fixture(scope="module")
def sam(state: dict[str, Tensor]) -> PromptedSam:
    return load_prompted_sam(state, "sam-vit-h", SamVit(**SMALL))


def plain_attention(state: dict[str, Tensor], name: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Eight heads over rows of 256 channels, one query and one head at a time, by the published names."""
    q, k, v = (
        functional.linear(x, state[f"{name}.{part}_proj.weight"], state[f"{name}.{part}_proj.bias"])
        for part, x in (("q", query), ("k", key), ("v", value))
    )
    rows = []
    for row in q:
        heads = [
            torch.softmax(kk @ qq / math.sqrt(len(qq)), 0) @ vv
            for qq, kk, vv in zip(row.chunk(8), k.chunk(8, 1), v.chunk(8, 1), strict=True)
        ]
        rows.append(torch.cat(heads))
    return functional.linear(torch.stack(rows), state[f"{name}.out_proj.weight"], state[f"{name}.out_proj.bias"])


def plain_perceptron(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    for layer in range(3):
        x = state[f"{name}.layers.{layer}.weight"] @ x + state[f"{name}.layers.{layer}.bias"]
        x = x if layer == 2 else x.clamp(min=0)
    return x


def plain_masks(state: dict[str, Tensor], embedding: Tensor, x: float, y: float) -> tuple[Tensor, Tensor]:
    """Three masks and ratings of one point, as the paper's appendix A has it; embedding (256, h, w)."""
    state = {name: tensor.double() for name, tensor in state.items()}
    height, width = embedding.shape[1:]
    matrix = state["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]

    def place(across: float, down: float) -> Tensor:
        phase = 2 * math.pi * (torch.tensor([2 * across - 1, 2 * down - 1], dtype=torch.float64) @ matrix)
        return torch.cat([phase.sin(), phase.cos()])

    def norm(name: str, rows: Tensor) -> Tensor:
        return functional.layer_norm(rows, (256,), state[f"{name}.weight"], state[f"{name}.bias"])

    cells = torch.stack([place((c + 0.5) / width, (r + 0.5) / height) for r in range(height) for c in range(width)])
    image = (embedding.double() + state["prompt_encoder.no_mask_embed.weight"].T[:, :, None]).flatten(1).T
    prompts = [
        place(x, y) + state["prompt_encoder.point_embeddings.1.weight"][0],
        state["prompt_encoder.not_a_point_embed.weight"][0],
    ]
    learned = [state["mask_decoder.iou_token.weight"], state["mask_decoder.mask_tokens.weight"]]
    codes = torch.cat([*learned, torch.stack(prompts)])
    root, tokens = "mask_decoder.transformer", codes
    for layer in range(2):
        name = f"{root}.layers.{layer}"
        if layer == 0:
            tokens = plain_attention(state, f"{name}.self_attn", tokens, tokens, tokens)
        else:
            tokens = tokens + plain_attention(state, f"{name}.self_attn", tokens + codes, tokens + codes, tokens)
        tokens = norm(f"{name}.norm1", tokens)
        looked = plain_attention(state, f"{name}.cross_attn_token_to_image", tokens + codes, image + cells, image)
        tokens = norm(f"{name}.norm2", tokens + looked)
        inner = functional.linear(tokens, state[f"{name}.mlp.lin1.weight"], state[f"{name}.mlp.lin1.bias"]).clamp(min=0)
        outer = functional.linear(inner, state[f"{name}.mlp.lin2.weight"], state[f"{name}.mlp.lin2.bias"])
        tokens = norm(f"{name}.norm3", tokens + outer)
        back = plain_attention(state, f"{name}.cross_attn_image_to_token", image + cells, tokens + codes, tokens)
        image = norm(f"{name}.norm4", image + back)
    looked = plain_attention(state, f"{root}.final_attn_token_to_image", tokens + codes, image + cells, image)
    tokens = norm(f"{root}.norm_final_attn", tokens + looked)

    up = "mask_decoder.output_upscaling"
    planes = image.T.reshape(1, 256, height, width)
    planes = functional.conv_transpose2d(planes, state[f"{up}.0.weight"], state[f"{up}.0.bias"], 2)
    mean, variance = planes.mean(1, keepdim=True), planes.var(1, keepdim=True, unbiased=False)
    scale, shift = (state[f"{up}.1.{part}"][:, None, None] for part in ("weight", "bias"))
    planes = functional.gelu((planes - mean) / (variance + 1e-6).sqrt() * scale + shift)
    planes = functional.gelu(functional.conv_transpose2d(planes, state[f"{up}.3.weight"], state[f"{up}.3.bias"], 2))[0]
    filters = [plain_perceptron(state, f"mask_decoder.output_hypernetworks_mlps.{k}", tokens[1 + k]) for k in (1, 2, 3)]
    logits = torch.stack([(one[:, None, None] * planes).sum(0) for one in filters])
    return logits, plain_perceptron(state, "mask_decoder.iou_prediction_head", tokens[0])[1:]


def test_masks_at_points_equal_the_plain_version(state: dict[str, Tensor], sam: PromptedSam) -> None:
    embedding = torch.randn(1, 256, 3, 4, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[0.2, 0.7], [0.55, 0.1]])
    with torch.no_grad():
        logits, ratings = sam(embedding, points)
    assert logits.shape == (2, 3, 12, 16)
    for index, (x, y) in enumerate(points.tolist()):
        expected, rated = plain_masks(state, embedding[0], x, y)
        torch.testing.assert_close(logits[index].double(), expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(ratings[index].double(), rated, rtol=0, atol=1e-4)


def test_every_tensor_is_taken_or_known(state: dict[str, Tensor]) -> None:
    for name, whole in (("mobile-sam", sam_layouts.filled(sam_layouts.mobile_sam_shapes())), ("sam-vit-h", state)):
        encoder = SamVit(**SMALL) if name == "sam-vit-h" else None
        sam = load_prompted_sam(whole, name, encoder)  # type: ignore[arg-type]
        assert not sam.training
        boxes, masks, classifier = 3, 10, 4  # prompts that are not asked with, and TinyViT's head
        left = boxes + masks + (classifier if name == "mobile-sam" else 0)
        assert len(sam.state_dict()) == len(whole) - left
        damaged = {key: tensor for key, tensor in whole.items() if "hypernetworks_mlps.3.layers.2.bias" not in key}
        with pytest.raises(WeightsError, match=r"published .* does not fit: missing masks\.filters\.3\.2\.bias"):
            load_prompted_sam(damaged, name, SamVit(**SMALL) if encoder else None)  # type: ignore[arg-type]
