"""The one place that imports TensorRT: NVIDIA's library for every GPU, or TensorRT for RTX, which share an interface.

Only what both have, from 10.3 to 11, is used in this package; what only one has is asked for by `hasattr`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from edgead.errors import AbsentError, EdgeadError, EngineError, UsageError, nearest

TENSORRT, RTX = "tensorrt", "tensorrt-rtx"
MODULES = {TENSORRT: ("tensorrt",), RTX: ("tensorrt_rtx", "tensorrt_rtx_bindings")}  # the first that is there
INSTALL = {
    TENSORRT: "JetPack and NVIDIA's containers bring it; elsewhere: pip install tensorrt",
    RTX: "pip install 'edgead[tensorrt-rtx]'",
}
LEAST = (10, 3)  # of TensorRT: JetPack 6's


class Messages:
    """The errors that the library told its logger: its exceptions seldom say more than "returned nullptr"."""

    def __init__(self, most: int | None = None) -> None:
        """`most` is how many are kept, the last ones; None: all."""
        self._errors: deque[str] = deque(maxlen=most)

    def add(self, severity: str, message: str) -> None:
        """Take a message; threads of the library may call this at the same time."""
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self._errors.append(" ".join(message.split()))

    def __str__(self) -> str:
        return "; ".join(dict.fromkeys(self._errors)) or "it gives no reason"


@dataclass(frozen=True, slots=True)
class Library:
    """TensorRT as it is on this machine."""

    name: str  # tensorrt or tensorrt-rtx
    version: str  # in full, such as 10.3.0: an engine runs in no other
    module: Any

    @property
    def is_rtx(self) -> bool:
        """Whether it builds ahead of time, without the GPU that will run the engine."""
        return self.name == RTX

    @property
    def title(self) -> str:
        """For people."""
        return f"{'TensorRT for RTX' if self.is_rtx else 'TensorRT'} {self.version}"

    @contextmanager
    def translated(self, messages: Messages) -> Iterator[None]:
        """Make whatever its bindings raise inside an EngineError with its last messages.

        They raise TypeError where a factory gives nothing, RuntimeError, ValueError and others of their own.
        """
        try:
            yield
        except EdgeadError:
            raise
        except Exception as error:
            raise EngineError(f"{self.title}: {error or type(error).__name__} ({messages})") from error

    def logger(self, say: Callable[[str, str], object]) -> Any:
        """An ILogger that gives every message to `say`, with its severity: INTERNAL_ERROR, ERROR, WARNING, INFO,
        VERBOSE. It must outlive what it is given to."""

        class Logger(self.module.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()

            def log(self, severity: Any, message: str) -> None:
                say(severity.name, message)

        return Logger()


def open_library(name: str = "auto") -> Library:
    """The library of that name; `auto` is TensorRT where it is installed, else TensorRT for RTX.

    Raises UsageError for an unknown name, AbsentError where it is not installed or too old, EngineError where it is
    installed and cannot be loaded.
    """
    if name not in ("auto", *MODULES):
        raise UsageError(f"unknown library '{name}': {nearest(name, ['auto', *MODULES])}")
    reasons: list[EngineError] = []
    for candidate in MODULES if name == "auto" else (name,):
        try:
            return _load(candidate)
        except EngineError as error:
            reasons.append(error)
    kind = AbsentError if all(isinstance(reason, AbsentError) for reason in reasons) else EngineError
    raise kind("; ".join(map(str, reasons)))


def _load(name: str) -> Library:
    for module_name in MODULES[name]:
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name != module_name:
                raise EngineError(f"{name} is broken: it needs {error.name} ({INSTALL[name]})") from error
            continue
        except Exception as error:  # a library of NVIDIA's that it cannot load
            raise EngineError(f"{name} cannot be loaded: {error} ({INSTALL[name]})") from error
        library = Library(name, str(module.__version__), module)
        if name == TENSORRT and _numbers(library.version) < LEAST:
            least = ".".join(map(str, LEAST))
            raise AbsentError(f"tensorrt {library.version} is too old: {least} is the least ({INSTALL[name]})")
        return library
    raise AbsentError(f"{name} is not installed ({INSTALL[name]})")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
