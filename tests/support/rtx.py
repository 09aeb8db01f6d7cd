"""TensorRT for RTX, which parses and builds without a GPU."""

from __future__ import annotations

import pytest

from edgead.errors import AbsentError
from edgead.tensorrt.library import RTX, Library, open_library


def library() -> Library:
    """The library; the test is skipped where it is not installed."""
    try:
        return open_library(RTX)
    except AbsentError as error:
        pytest.skip(str(error))


def parse(network: bytes) -> list[str]:
    """What the parser has against a network."""
    found = library()
    trt, logger = found.module, found.logger(lambda severity, message: None)
    definition = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(definition, logger)
    parsed = parser.parse(network)
    faults = [parser.get_error(index).desc() for index in range(parser.num_errors)]
    assert parsed == (not faults)
    return faults
