"""STLM's streams: products, distances and losses against their equations, gradients, size and cost."""

from __future__ import annotations

import copy
import math

import numpy as np
import published
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgead_tools.backbones.sam import Sam, load_mobile_sam
from edgead_tools.backbones.sam_decoder import ImageDecoder
from edgead_tools.backbones.tiny_vit import TinyVit
from edgead_tools.methods.stlm.feature_aggregation import FeatureAggregation
from edgead_tools.methods.stlm.sam_streams import (
    SamStreams,
    cells,
    cosine_distance,
    distance,
    normalize,
    products,
)

pytestmark = pytest.mark.usefixtures("one_thread")

Levels = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def mobile() -> Sam[TinyVit]:
    """With one block a stage of attention, so that steps are cheap."""
    with pytest.MonkeyPatch.context() as patch:
        published.make_shallow(patch)
        return load_mobile_sam(published.LAYOUTS["mobile-sam"]())[0]


@pytest.fixture
def streams(mobile: Sam[TinyVit]) -> SamStreams:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = [copy.deepcopy(mobile.encoder) for _ in range(2)]
        return SamStreams(*encoders, copy.deepcopy(mobile.decoder), FeatureAggregation()).eval()


@pytest.fixture
def levels() -> Levels:
    """Two levels of two streams, (2, 256, 3, 4), that nearly agree."""
    random = torch.Generator().manual_seed(0)
    plain = [torch.randn(2, 256, 3, 4, generator=random) * 3 for _ in range(2)]
    return [(one, one + 0.3 * torch.randn(one.shape, generator=random)) for one in plain]


def unit(vector: Tensor) -> np.ndarray:
    """n(v) = v / (|v| + 1e-12)."""
    numbers = vector.detach().double().numpy()
    return numbers / (math.sqrt((numbers**2).sum()) + 1e-12)


def test_products_and_distances_equal_the_equations(levels: Levels) -> None:
    head_input, found = products(levels) * (-1 / 256), distance(levels) / 256**2
    for b, r, c in np.ndindex(2, 3, 4):
        pairs = [(unit(plain[b, :, r, c]), unit(denoising[b, :, r, c])) for plain, denoising in levels]
        published = np.concatenate([-plain * denoising for plain, denoising in pairs])
        np.testing.assert_allclose(head_input[b, :, r, c].numpy(), published, atol=1e-8)
        apart = math.prod(1 - plain @ denoising for plain, denoising in pairs)
        assert found[b, r, c].item() == pytest.approx(apart, rel=1e-4)


def test_a_vector_of_nothing_stays_finite() -> None:
    nothing = torch.zeros(1, 256, 1, 1, requires_grad=True)
    normalize(nothing).sum().backward()
    assert torch.isfinite(nothing.grad).all()
    assert not normalize(nothing).any()
    small = normalize(torch.full((1, 256, 1, 1), 2e-3))
    torch.testing.assert_close(small, torch.ones_like(small))


def test_the_taught_losses_are_the_papers_equations(streams: SamStreams) -> None:
    image = torch.randn(2, 3, 64, 32)
    targets = [[torch.randn(2, 256, 4, 2) for _ in range(2)] for _ in range(2)]
    with torch.no_grad():
        losses = streams.losses(image, *targets, torch.zeros(2, 4, 2))
        levels = streams.levels(image)
    for stream, (name, teachers) in enumerate(zip(("plain", "denoising"), targets, strict=True)):
        expected = 0.0
        for level, teacher in zip(levels, teachers, strict=True):
            places = list(np.ndindex(2, 4, 2))
            apart = [1 - unit(level[stream][b, :, r, c]) @ unit(teacher[b, :, r, c]) for b, r, c in places]
            expected += sum(apart) / len(places)
        assert losses[name].item() == pytest.approx(expected, rel=1e-5)
    assert set(losses) == {"plain", "denoising", "focal", "l1"}  # the last two: test_segmentation_head


def test_both_streams_share_one_decoder(streams: SamStreams) -> None:
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        streams.denoising.neck[3].bias.add_(1)
        (plain, denoising), decoded = streams.levels(image)
        torch.testing.assert_close(plain, streams.plain(image))
        torch.testing.assert_close(denoising, streams.denoising(image))
        for embedding, found in zip((plain, denoising), decoded, strict=True):
            torch.testing.assert_close(found, streams.decoder(embedding), rtol=1e-4, atol=1e-5)


def test_masks_become_cells_by_their_middle() -> None:
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 7:9, 7:9] = True  # the four pixels in the middle of the first cell of 16
    masks[0, 7, 23:25] = True  # two of four: one half
    masks[0, 7, 39] = True
    masks[1, 16:] = True
    found = cells(masks, 4, 4)
    assert found[0].nonzero().tolist() == [[0, 0], [0, 1]]
    assert found[1].sum() == 12
    assert found.dtype == torch.float32


def gradients(network: SamStreams, loss: Tensor) -> dict[str, bool]:
    """Which parts the loss trains."""
    network.zero_grad()
    loss.backward()
    parts = {"plain": network.plain, "denoising": network.denoising, "decoder": network.decoder, "head": network.head}
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in part.parameters()) for name, part in parts.items()
    }


def test_nothing_is_detached(streams: SamStreams) -> None:
    image, target = torch.randn(2, 3, 64, 64), torch.zeros(2, 4, 4)
    target[0, :2] = 1
    teachers = [[torch.randn(2, 256, 4, 4) for _ in range(2)] for _ in range(2)]
    expected = {
        "plain": {"plain": True, "denoising": False, "decoder": True, "head": False},
        "denoising": {"plain": False, "denoising": True, "decoder": True, "head": False},
        "focal": dict.fromkeys(("plain", "denoising", "decoder", "head"), True),
        "l1": dict.fromkeys(("plain", "denoising", "decoder", "head"), True),
    }
    found = {name: gradients(streams, streams.losses(image, *teachers, target)[name]) for name in expected}
    assert found == expected


def test_a_few_steps_lower_every_loss(streams: SamStreams) -> None:
    random = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, 64, 64, generator=random)
    target = torch.zeros(2, 4, 4)
    target[0, 1:3, 1:3] = 1
    teachers = [[torch.randn(2, 256, 4, 4, generator=random) for _ in range(2)] for _ in range(2)]
    optimizer = torch.optim.Adam(streams.train().parameters(), 5e-4, (0.5, 0.999))
    history = []
    for _ in range(4):
        losses = streams.losses(image, *teachers, target)
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    for name, first in history[0].items():
        assert history[-1][name] < first, name


@pytest.mark.parametrize("with_head", [True, False])
def test_folding_keeps_the_maps(streams: SamStreams, with_head: bool) -> None:
    if not with_head:
        streams.head = None
        nn.init.normal_(streams.denoising.neck[3].bias)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        before = streams(image)
        streams.fold(64, 96)
        after = streams(image)
    assert list(after) == ["segmentation" if with_head else "distance"]
    for name, expected in before.items():
        assert expected.shape == (2, 4, 6)
        assert expected.std() > 0
        torch.testing.assert_close(after[name], expected, rtol=1e-5, atol=1e-6)


# Input side -> GMAC of both encoders, both passes of the decoder and the head. Estimates written down before the model
# was are 4.1, 6.7, 16.2, 23.2, 36.4 and 87.3: the same for the two that were counted layer by layer.
COST = {224: 4.042, 256: 6.706, 448: 16.085, 512: 23.072, 672: 36.157, 1024: 87.338}


@pytest.mark.parametrize(("size", "gmac"), COST.items())
def test_its_cost_is_the_published_one(size: int, gmac: float) -> None:
    with torch.device("meta"):
        network = SamStreams(TinyVit(), TinyVit(), ImageDecoder(), FeatureAggregation()).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            maps = network(torch.zeros(1, 3, size, size))
    assert maps["segmentation"].shape == (1, size // 16, size // 16)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=1e-3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 16_518_825


def test_a_teacher_that_agrees_costs_nothing(mobile: Sam[TinyVit]) -> None:
    with torch.no_grad():
        embedding, decoded = mobile(torch.randn(1, 3, 64, 64))
        for features in (embedding, decoded):
            assert cosine_distance(features, 3 * features).item() == pytest.approx(0, abs=1e-6)
            assert cosine_distance(features, -features).item() == pytest.approx(2, abs=1e-6)
