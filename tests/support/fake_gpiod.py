"""A stand-in for the lines of gpiod in tests: edges can be made, and what was set is remembered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gpiod.line import Value


@dataclass(frozen=True)
class Edge:
    line_offset: int
    timestamp_ns: int


class Lines:
    """What `gpiod.request_lines` gives."""

    def __init__(self, chip: str, config: dict[Any, Any]) -> None:
        self.chip, self.config = chip, config
        self.values = {line: settings.output_value for line, settings in config.items()}
        self.history: list[tuple[float, Any, Value]] = []
        self.released = False
        self._edges: list[Edge] = []
        self._changed = threading.Condition()

    def edge(self, line: int) -> float:
        """Make an edge now; gives its time (time.monotonic())."""
        now = time.monotonic_ns()
        with self._changed:
            self._edges.append(Edge(line, now))
            self._changed.notify_all()
        return now / 1e9

    def wait_edge_events(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._edges), timeout)

    def read_edge_events(self) -> Iterable[Edge]:
        with self._changed:
            edges, self._edges = self._edges, []
        return edges

    def set_values(self, values: dict[Any, Value]) -> None:
        for line, value in values.items():
            if self.values.get(line) is not value:
                self.history.append((time.monotonic(), line, value))
        self.values.update(values)

    def release(self) -> None:
        self.released = True


class Chips:
    """Takes the place of `gpiod.request_lines`."""

    def __init__(self) -> None:
        self.requested: list[Lines] = []
        self.taken: set[int] = set()

    def __call__(self, path: str, consumer: str, config: dict[Any, Any]) -> Lines:
        if not path.startswith("/dev/gpiochip"):
            raise FileNotFoundError(2, "No such file or directory")
        if self.taken & set(config):
            raise OSError(16, "Device or resource busy")
        self.requested.append(Lines(path, config))
        return self.requested[-1]
