"""Closes what was opened on every way out of a `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

_Closing = TypeVar("_Closing", bound="Closing")


class Closing(ABC):
    """Gives what has a `close` the two methods that `with` asks for."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Release everything held; calling it again does nothing."""

    def __enter__(self: _Closing) -> _Closing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
