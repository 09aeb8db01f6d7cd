"""Switches off what the libraries would report about their use: on a factory floor nothing may call out.

ONNX Runtime stores events below the home folder and posts them, unless an environment variable is set before it is
imported. OpenVINO posts whenever it is imported, unless its package for that cannot be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def disable_telemetry() -> None:
    """Set what ONNX Runtime looks at; a value that is set already stays."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@contextmanager
def without_module(name: str) -> Iterator[None]:
    """An import of `name` fails inside, unless it was imported before."""
    modules: dict[str, Any] = sys.modules  # None stands for a module that cannot be imported
    if name in modules:
        yield
        return
    modules[name] = None
    try:
        yield
    finally:
        modules.pop(name, None)
