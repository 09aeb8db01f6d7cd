"""Building a bundle from Python; what does it is imported when it is called, and is on workstations alone."""

from __future__ import annotations

import os
from pathlib import Path

from edgead.bundle import Bundle
from edgead.config import BuildConfig, load_build
from edgead.registry import Lazy

_BUILD = Lazy("edgead_tools.pipeline.build:build", extra="build")
_REPORTER = Lazy("edgead.progress:Reporter", extra="build")
_CONSOLE = Lazy("edgead.progress:ConsoleReporter", extra="build")


def build(
    config: BuildConfig | str | os.PathLike[str], *, fresh: bool = False, finish: bool = False, verbose: bool = False
) -> Bundle:
    """Learn what good parts look like, and give the bundle that was written to `config.bundle_path`.

    >>> bundle = edgead.build(edgead.BuildConfig(data="good_parts", budget="5m"))

    A path is that of a YAML file, over which EDGEAD_* variables count, as for `edgead build --config`. An unfinished
    build of the same settings and data is continued; `fresh` starts anew, `finish` takes the training as far as it
    came. With `verbose` every stage is said on standard error. What was measured on labeled images is in
    `bundle.manifest.provenance["measured"]`. Raises an EdgeadError: a MissingPackageError where edgead[build] is not
    installed.
    """
    settings = config if isinstance(config, BuildConfig) else load_build(Path(config)).config
    reporter = (_CONSOLE if verbose else _REPORTER).load("edgead.build")()
    built: Bundle = _BUILD.load("edgead.build")(settings, reporter, fresh=fresh, finish=finish).bundle
    return built
