"""STLM as published, exported in full depth and at its full size; minutes, so these run where asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import published
import pytest
import torch
from boards import boards

from edgead.bundle.input_spec import InputSpec
from edgead_tools.backbones.sam import OFFSET, SCALE, load_mobile_sam
from edgead_tools.backbones.tiny_vit import TinyVit
from edgead_tools.export import network as export_module
from edgead_tools.export.network import TOLERANCE, export
from edgead_tools.methods import Trained
from edgead_tools.methods.stlm.feature_aggregation import FeatureAggregation
from edgead_tools.methods.stlm.paper import StlmPaper
from edgead_tools.methods.stlm.sam_streams import SamStreams

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.mark.parametrize("size", [448, 1024])
def test_torch_equals_onnx_runtime(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "BATCHES", (1, 2))  # five at once were compared at a small size
    torch.manual_seed(0)
    start, _ = load_mobile_sam(published.LAYOUTS["mobile-sam"]())
    network = SamStreams(start.encoder, TinyVit(), start.decoder, FeatureAggregation()).eval()
    network.fold(size, size)
    spec = InputSpec(height=size, width=size, scale=SCALE[::-1], offset=OFFSET[::-1])
    report = export(Trained(network, spec, StlmPaper()._fusion(size, size), {}), tmp_path / "m.onnx", boards(2, size))
    print(f"{size}: {report.nodes} nodes, {report.size} bytes, differences {report.errors}")
    assert max(report.errors.values()) <= TOLERANCE
    graph = onnx.load(report.path).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["LayerNormalization"] == 51
    assert kinds["Gather"] == 4  # of streams from the stack they pass the decoder in, and none of biases
    assert (kinds["Sin"], kinds["Resize"], kinds["Shape"]) == (0, 0, 0)
