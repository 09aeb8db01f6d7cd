"""Every test of a kernel runs on the emulated GPU, and, with `-m gpu`, the same test on this machine's own."""

from __future__ import annotations

from collections.abc import Iterator

import emulated
import pytest
from hypothesis import settings

from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.kernels import Kernels

settings.register_profile("few", max_examples=3, deadline=None)  # for compute-sanitizer, which is slow


@pytest.fixture(scope="module", params=["emulated", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest) -> Iterator[CudaContext]:
    """A GPU whose context is current; the emulated one says at the end what went wrong or is left."""
    if request.param == "real":
        yield from _opened()
        return
    with pytest.MonkeyPatch.context() as monkeypatch, request.getfixturevalue("emulator").installed(monkeypatch):
        yield from _opened()


@pytest.fixture
def opened(emulator: emulated.Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaContext]:
    """An emulated GPU for one test alone, its context current: what is spoilt is spoilt for no other."""
    with emulator.installed(monkeypatch):
        yield from _opened()


def _opened() -> Iterator[CudaContext]:
    gpu = CudaContext()
    with gpu.current():
        yield gpu
    gpu.close()


@pytest.fixture(scope="module")
def kernels(gpu: CudaContext) -> Kernels:
    return Kernels(gpu)


@pytest.fixture(scope="module")
def stream(gpu: CudaContext) -> Stream:
    return gpu.stream()
