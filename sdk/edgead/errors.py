"""Defines every error edgead raises on purpose.

    EdgeadError            exit code 1                 anything below, and the one class a caller needs to catch
    ├── UsageError                   2   ValueError    an option, a configuration key or an argument is wrong
    │   └── MissingPackageError      2   ImportError   what was asked for needs a package that is not installed
    ├── DataError                    1   ValueError    an image, a folder or a data set cannot be used
    ├── BundleError                  1   ValueError    a bundle is missing, damaged, altered or too new
    ├── WeightsError                 1   ValueError    pretrained weights are missing or not what they should be
    ├── EngineError                  3   RuntimeError  this machine cannot run the asked-for engine or precision
    │   └── AbsentError              3                 its library or its hardware is not on this machine
    ├── GateError                    4   RuntimeError  a check on numbers failed: export, golden frames, accuracy
    └── SourceError                  5   OSError       a camera, stream or file of frames cannot be opened or was lost

Each also is the builtin error that a caller expects who knows nothing of edgead: the third column. A message is one
sentence that says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgeadError(Exception):
    """The base of the tree; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(EdgeadError, ValueError):
    exit_code = 2


class MissingPackageError(UsageError, ImportError):
    pass


class DataError(EdgeadError, ValueError):
    pass


class BundleError(EdgeadError, ValueError):
    pass


class WeightsError(EdgeadError, ValueError):
    pass


class EngineError(EdgeadError, RuntimeError):
    exit_code = 3


class AbsentError(EngineError):
    pass


class GateError(EdgeadError, RuntimeError):
    exit_code = 4


class SourceError(EdgeadError, OSError):
    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause for an unknown name: the nearest known one, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
