"""The two streams: standardized taps, a stream that starts at the mean good part, and a graph of a known cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import boards
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite, tensor_from
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.layers.residual_map import ResidualMap
from edgead_tools.methods.stlm.edge import StlmEdge, load_trunk
from edgead_tools.methods.stlm.segmentation_head import SegmentationHead
from edgead_tools.methods.stlm.two_streams import Disagreement, TwoStreams

pytestmark = pytest.mark.usefixtures("one_thread")

PARAMETERS = 1_458_937  # of the deployed graph with the default options at 256; 69 632 of them are the means per cell
GMAC = 0.5118  # trunk 0.318, denoising stream 0.121, head 0.046, whitening 0.027


def batches(images: Tensor, size: int = 4) -> Callable[[], Iterable[Tensor]]:
    return lambda: images.split(size)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return tensor_from(torch.from_numpy(boards.boards(10)))


@pytest.fixture(scope="module")
def trunk() -> EfficientNetLite:
    return load_trunk("efficientnet-lite0", load_state(find("efficientnet-lite0")))


@pytest.fixture
def streams(trunk: EfficientNetLite, images: Tensor) -> TwoStreams:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TwoStreams(trunk, batches(images), width=32, code=8).eval()


def graph(size: int) -> Disagreement:
    """The exported graph with the default options and a head; random weights, statistics of nothing."""
    options = StlmEdge()
    trunk = EfficientNetLite("lite0", (4, 10)).eval()
    streams = TwoStreams(trunk, lambda: [torch.zeros(1, 3, size, size)], width=options.width, code=options.code)
    maps = [
        ResidualMap(torch.zeros(channels), torch.eye(channels), torch.zeros(cells, cells), torch.ones(cells, cells))
        for channels, cells in ((152, size // 8), (112, size // 16))
    ]
    network = Disagreement(streams, *maps)
    network.head = SegmentationHead(network.stacked.channels)
    return network.eval()


class Same(nn.Module):
    """A denoising stream that expects just what is there."""

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        return fine, coarse


@torch.no_grad()
def test_taps_are_standardized_over_the_images(streams: TwoStreams, images: Tensor) -> None:
    for tap in streams.taps(images):
        torch.testing.assert_close(tap.mean((0, 2, 3)), torch.zeros(tap.shape[1]), rtol=0, atol=1e-4)
        torch.testing.assert_close(tap.std((0, 2, 3), correction=0), torch.ones(tap.shape[1]), rtol=1e-3, atol=0)


@torch.no_grad()
def test_the_denoising_stream_starts_at_the_mean_good_part(streams: TwoStreams, images: Tensor) -> None:
    taps = streams.taps(images)
    for expected, tap in zip(streams.denoising(*taps), taps, strict=True):
        mean = tap.mean(0).expand_as(expected)
        assert (expected - mean).std() < 0.3  # the output layer's small first weights
        assert (expected - mean).std() < (tap - expected).std()
    for layer in (streams.denoising.to_fine, streams.denoising.to_coarse):
        nn.init.zeros_(layer.weight)
    for expected, tap in zip(streams.denoising(*taps), taps, strict=True):
        torch.testing.assert_close(expected, tap.mean(0).expand_as(expected), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_streams_that_agree_leave_nothing(streams: TwoStreams, images: Tensor) -> None:
    streams.denoising = Same()  # type: ignore[assignment]
    stacked, coarse = streams.residuals(images)
    assert not stacked.any()
    assert not coarse.any()


@torch.no_grad()
def test_the_stacked_residual_is_both_levels_on_one_grid(streams: TwoStreams, images: Tensor) -> None:
    taps = streams.taps(images[:1])
    expected = streams.denoising(*taps)
    stacked, coarse = streams.residuals(images[:1])
    fine = (taps[0] - expected[0])[0].numpy()
    padded = np.pad(fine, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    torch.testing.assert_close(coarse, taps[1] - expected[1])
    np.testing.assert_allclose(stacked[0, :40].numpy(), np.nanmean(windows, (3, 4)), atol=1e-5)
    np.testing.assert_allclose(stacked[0, 40:].mean((1, 2)).numpy(), coarse[0].mean((1, 2)).numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [64, 96, 128, 160, 256])
def test_maps_have_an_eighth_and_a_sixteenth_of_the_side(size: int) -> None:
    with torch.no_grad():
        maps = graph(size)(torch.zeros(2, 3, size, size))
    eighth, sixteenth = (2, size // 8, size // 8), (2, size // 16, size // 16)
    assert {name: tuple(array.shape) for name, array in maps.items()} == {
        "stacked": eighth,
        "coarse": sixteenth,
        "head": eighth,
    }


def test_the_trunk_is_frozen(streams: TwoStreams, images: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in streams.trunk.state_dict().items()}
    assert not any(parameter.requires_grad for parameter in streams.trunk.parameters())
    optimizer = torch.optim.SGD([one for one in streams.parameters() if one.requires_grad], 0.1)
    streams.denoising.train()
    loss = torch.stack([residual.square().mean() for residual in streams.residuals(images)]).sum()
    loss.backward()
    optimizer.step()
    assert not any(module.training for module in streams.trunk.modules())
    assert all(parameter.grad is None for parameter in streams.trunk.parameters())
    assert all(parameter.grad is not None for parameter in streams.denoising.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in streams.trunk.state_dict().items())


def test_what_the_deployed_graph_costs() -> None:
    """Both streams, whitening and head. Multiply-adds of convolutions only, as everywhere in the specifications."""
    network = graph(256)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 256, 256))
    assert counter.get_total_flops() / 2e9 == pytest.approx(GMAC, abs=1e-4)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS
