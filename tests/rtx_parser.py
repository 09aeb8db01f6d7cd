"""TensorRT-RTX's own ONNX parser, which needs no GPU."""

from __future__ import annotations

import pytest


def parse(network: bytes) -> list[str]:
    """What the parser has against a network; the test is skipped where TensorRT-RTX is not installed."""
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx-cu13-bindings is not installed here")
    logger = trt.Logger(trt.ILogger.Severity.INTERNAL_ERROR)
    definition = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(definition, logger)
    parsed = parser.parse(network)
    faults = [parser.get_error(index).desc() for index in range(parser.num_errors)]
    assert parsed == (not faults)
    return faults
