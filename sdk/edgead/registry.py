"""Names engines, sources, sinks, triggers and methods: tables of edgead's own, and what others add by entry points.

A package adds a sink `csv` with these lines of its pyproject.toml, and sources, engines and methods alike:

    [project.entry-points."edgead.sinks"]
    csv = "its_package.its_module:CsvSink"

An entry is imported when it is used, never before; an own one cannot be replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgead.errors import MissingPackageError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

OWN = ("edgead", "edgead_calibration", "edgead_tools")  # packages
GROUPS = ("edgead.engines", "edgead.methods", "edgead.sinks", "edgead.sources", "edgead.triggers")


@dataclass(frozen=True, slots=True)
class Lazy:
    """An object of a module that is not imported yet."""

    target: str  # "module:attribute"
    extra: str = ""  # of `package`, which brings what the module imports
    package: str = "edgead"  # the distribution to install

    @property
    def install(self) -> str:
        """The command that brings what the module needs."""
        return f"pip install '{self.package}[{self.extra}]'" if self.extra else f"pip install {self.package}"

    def load(self, what: str) -> Any:
        """The object; `what` stands for it in messages.

        Raises MissingPackageError where a package is not installed, UsageError where one cannot be imported, and else
        what the import raises.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ImportError as error:
            explained = self.explained(error, what)
            if explained is None:
                raise
            raise explained from error

    def explained(self, error: ImportError, what: str) -> UsageError | None:
        """The error in words where a package of others is missing or broken; None where the fault is edgead's."""
        root = (error.name or "").partition(".")[0]
        if not root or (root in OWN and find_spec(root) is not None):
            return None
        if isinstance(error, ModuleNotFoundError) and not is_installed(root):
            here = checkout() if self.package == "edgead" and self.extra else None
            also = f" (edgead is of a checkout here: pip install -e '{here}[{self.extra}]')" if here else ""
            return MissingPackageError(f"{what} needs the package {root}: {self.install}{also}")
        words = " ".join(str(error).split())
        return UsageError(f"{what} needs the package {root}, which does not work here: {words}; install it again")


Entry = TypeVar("Entry", bound=Lazy)


class Registry(Mapping[str, Entry]):
    """Entries by name: edgead's own (`builtin`), in their order, then those of other packages."""

    def __init__(self, group: str, kind: type[Entry], builtin: dict[str, Entry]) -> None:
        """`group` is that of the entry points, each of which becomes a `kind`."""
        self.builtin = builtin
        self._group, self._kind = group, kind

    def __getitem__(self, name: str) -> Entry:
        return self.builtin[name] if name in self.builtin else self._added()[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.builtin
        yield from (name for name in self._added() if name not in self.builtin)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _added(self) -> dict[str, Entry]:
        points = _points(tuple(sys.path))[self._group]
        return {point.name: self._kind(point.value, package=_distribution(point)) for point in points}


def checkout() -> str | None:
    """The folder that edgead was installed from, where it came from a folder and not from an index."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    try:
        found = json.loads(distribution("edgead").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    folder = unquote(urlsplit(found.get("url", "")).path) if "dir_info" in found else ""
    return folder if folder and Path(folder, "pyproject.toml").is_file() else None


def is_installed(package: str) -> bool:
    """Whether a top-level package could be imported, without importing it."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # it is there, if only as a stand-in
        return True


@lru_cache(maxsize=1)
def _points(paths: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of each group in the packages on sys.path, which takes some milliseconds to read."""
    from importlib.metadata import entry_points  # with a mail parser and more: where there is something to read

    found = entry_points()
    return {group: tuple(sorted(found.select(group=group))) for group in GROUPS}


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.partition(":")[0].partition(".")[0]
