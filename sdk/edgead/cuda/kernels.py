"""Holds the compiled kernels of one GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgead.cuda.compile import SOURCES, machine_code
from edgead.cuda.context import CudaContext, Kernel, Module


class Kernels:
    """Kernels by file and name; a file is compiled and loaded once."""

    def __init__(self, gpu: CudaContext) -> None:
        self._gpu = gpu
        self._modules: dict[str, Module] = {}

    def get(self, file: str, name: str, args: np.dtype[Any]) -> Kernel:
        """The kernel `name` of kernels/`file`.cu, launched with arguments of the dtype `args`."""
        if file not in self._modules:
            code = machine_code(SOURCES / f"{file}.cu", self._gpu.capability, self._gpu.driver_version)
            self._modules[file] = self._gpu.load(code)
        return self._modules[file].kernel(name, args)
