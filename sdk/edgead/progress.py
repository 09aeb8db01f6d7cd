"""Reports the progress of long work: on stderr, as bars on a terminal and as plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgead.cli import streams
from edgead.wording import printable

OnProgress = Callable[[int, int], None]  # done, total


class Reporter:
    """Says nothing: the reporter of a build that nobody watches, and the base of the one that somebody does."""

    def say(self, text: str) -> None:
        """One line for the person who waits."""

    @contextmanager
    def stage(self, name: str) -> Iterator[OnProgress]:
        """A stage of the work; the callback it yields moves its bar."""
        yield lambda done, total: None


class ConsoleReporter(Reporter):
    """Lines and bars on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, quiet=streams.quiet)

    def say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[OnProgress]:
        if not self._console.is_terminal:
            self.say(f"{name} ...")
            yield lambda done, total: None
            return
        columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console) as bars:
            task = bars.add_task(name, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
